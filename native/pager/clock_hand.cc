// The hands of the clock: they go over the present pages of the regions, and take what is used
// least.
#include <algorithm>
#include <numeric>

#include "pager/evictor.h"

namespace farpage {

EvictionResult Evictor::Evict(uint64_t pages, const Region* only, const Region* patient) {
  std::unique_lock<std::mutex> sweep(mutex_);
  auto regions = Regions();
  if (only != nullptr) std::erase_if(regions, [&](const auto& r) { return r.get() != only; });
  EvictionResult result;
  if (regions.empty()) return result;
  for (const auto& region : regions) result.table_pages += GiveTablesBack(*region);
  if (result.table_pages >= pages) return result;
  pages -= result.table_pages;
  const bool spills = std::any_of(regions.begin(), regions.end(), [](const auto& region) {
    return region->overlay != nullptr && region->table->dirty() != 0;
  });
  const bool waits = patient != nullptr && patient->overlay == nullptr;
  Sweep work{regions, only == nullptr, spills, waits ? patient : nullptr};
  EvictOnce(work, pages, sweep, &result);
  // The overlays have no room: what they refused stays, and clean pages go.
  if (result.evicted_pages == 0 && result.refused_pages != 0) {
    Sweep clean{regions, only == nullptr, false, patient};
    EvictOnce(clean, pages, sweep, &result);
  }
  result.others_move = !moving_.empty();
  return result;
}

void Evictor::EvictOnce(Sweep& work, uint64_t pages, std::unique_lock<std::mutex>& sweep,
                        EvictionResult* result) {
  // What is read or written once is on trial: beyond its share it goes before what was used again,
  // the clean part of it first, because what is dirty costs a copy, or a write.
  uint64_t clean = 0;
  uint64_t dirty = 0;
  uint64_t frames = 0;
  for (const auto& region : work.regions) {
    clean += region->table->trial();
    dirty += region->table->dirty_trial();
    frames += region->frames.used();
  }
  const uint64_t share = frames / kTrialPart;
  const uint64_t spared = work.patient == nullptr ? share : 0;
  const auto most = [&](uint64_t more) { return std::min(pages, work.gone() + more); };
  // Twice, for the write that a page came with counts as a use.
  if (clean > spared) GoRound(work, most(clean - spared), 2, Pick::kOnTrial, result);
  if (dirty > share && (work.spills || work.patient != nullptr)) {
    GoRound(work, most(dirty - share), 2, Pick::kDirtyTrial, result);
  }
  // Pages that have become clean since they were counted were in neither round, and those that are
  // being copied are in neither count: they go before what is in use all the same.
  if (work.patient != nullptr) GoRound(work, pages, 2, Pick::kOnTrial, result);
  GoRound(work, pages, 1, Pick::kProven, result);
  GoRound(work, pages, kRoundsMax, Pick::kUnaccessed, result);
  // Where all of them are used again before the hand comes back, one goes nevertheless: what may go
  // into an overlay is no reason to say that memory is full.
  if (work.spills && work.gone() == 0) GoRound(work, 1, 1, Pick::kAll, result);
  if (work.claimed + work.spilled != 0) shootdown_.WaitGracePeriod();
  for (Victims& victims : work.batch) Drop(victims);
  result->evicted_pages += work.claimed;
  result->dirty_pages = std::accumulate(work.dirty.begin(), work.dirty.end(), uint64_t{0});
  result->pinned_pages = std::accumulate(work.pinned.begin(), work.pinned.end(), uint64_t{0});
  result->cleaning_pages = work.cleaning;
  if (work.spilled == 0) return;
  const uint64_t refused_before = result->refused_pages;
  const uint64_t spilled_before = result->spilled_pages;
  Move(work.spilling, sweep, result);
  if (result->spilled_pages != spilled_before) {
    spills_max_ = kSpillPagesMax;
  } else if (result->refused_pages != refused_before) {
    spills_max_ = kSpillProbePages;
  }
}

void Evictor::GoRound(Sweep& work, uint64_t pages, size_t rounds, Pick pick,
                      EvictionResult* result) {
  const auto& regions = work.regions;
  Rules rules;
  rules.pick = pick;
  const bool tried = pick == Pick::kOnTrial || pick == Pick::kDirtyTrial;
  Hand& hand = tried ? trial_hand_ : hand_;
  if (hand.region >= regions.size()) hand.region = 0;
  const size_t start_region = work.all ? hand.region : 0;
  const PageIndex start_page = hand.page;
  uint64_t moved = 0;
  const auto enough = [&] { return work.gone() >= pages || work.spilled >= spills_max_; };
  for (size_t step = 0; step <= rounds * regions.size() && !enough(); step++) {
    const size_t index = (start_region + step) % regions.size();
    Region& region = *regions[index];
    Summary& summary = region.table->present_summary();
    const PageWord stamp = GhostNow(region);
    Victims victims{regions[index], {}, 0, 0, stamp};
    Victims spilling{regions[index], {}, 0, 0, stamp};
    rules.spilling = work.spills && region.overlay != nullptr ? &spilling : nullptr;
    rules.spills_max = spills_max_ - work.spilled;
    rules.cleans = &region == work.patient;
    result->dirty_pages = result->pinned_pages = result->cleaning_pages = 0;
    const PageIndex end = region.table->pages();
    const uint64_t wanted = pages - work.gone();
    PageIndex at = step == 0 ? start_page : 0;
    for (bool stopped = false; !stopped;) {
      const uint64_t chunk = summary.Next(at / kSummaryPages);
      const PageIndex first = std::max(at, chunk * kSummaryPages);
      const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
      at = first < end ? Collect(region, {first, last - first}, wanted, rules, &victims, result)
                       : end;
      stopped = at < last || at >= end;
    }
    work.dirty[index] = result->dirty_pages;
    work.pinned[index] = result->pinned_pages;
    if (work.all) hand.region = index;
    hand.page = at;
    work.claimed += victims.pages;
    work.spilled += spilling.pages;
    work.cleaning += result->cleaning_pages;
    moved += victims.pages + victims.chances + spilling.pages;
    if (victims.pages != 0) work.batch.push_back(std::move(victims));
    if (spilling.pages != 0) work.spilling.push_back(std::move(spilling));
    if (step == 0 || step % regions.size() != 0) continue;
    // A whole round that met nothing but dirty pages, and pages in use: the next would, too.
    if (moved == 0) break;
    moved = 0;
  }
}

}  // namespace farpage
