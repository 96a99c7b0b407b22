#include "pager/evictor.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "pager/page_change.h"
#include "pager/pager_marks.h"

namespace farpage {
namespace {

// What a page loses when it is taken, and, once it has gone, what was remembered of its use.
constexpr PageWord kOfReach = kReadable | kWritable | kUses | kHeld | kAhead;
constexpr PageWord kOfUse = kOfReach | kTrial | kUnused | kUsed;

}  // namespace

void Evictor::Add(std::shared_ptr<Region> region) {
  std::lock_guard<std::mutex> lock(regions_mutex_);
  regions_.push_back(std::move(region));
}

void Evictor::Remove(const Region* region) {
  // The sweep's lock too: no sweep may hold victims of a region that is about to be unmapped.
  std::lock_guard<std::mutex> sweep(mutex_);
  std::lock_guard<std::mutex> lock(regions_mutex_);
  std::erase_if(regions_, [&](const auto& item) { return item.get() == region; });
}

std::vector<std::shared_ptr<Region>> Evictor::Regions() {
  std::lock_guard<std::mutex> lock(regions_mutex_);
  return regions_;
}

std::shared_ptr<Region> Evictor::FilledByWriter() {
  std::shared_ptr<Region> most;
  for (auto& region : Regions()) {
    if (!HasFilledMemory(*region, budget_.max())) continue;
    if (most == nullptr || region->table->dirty() > most->table->dirty()) most = region;
  }
  return most;
}

bool Evictor::Spares(Pick pick, PageWord word) {
  switch (pick) {
    case Pick::kOnTrial: return !OnTrial(word);
    case Pick::kDirtyTrial: return !OnTrial(word) || (word & kUnsafe) == 0;
    case Pick::kProven: return OnTrial(word);
    case Pick::kNeverUsed: return OnTrial(word) && (word & kUnused) == 0;
    case Pick::kUnaccessed:
    case Pick::kAll: break;
  }
  return false;
}

PageIndex Evictor::Collect(Region& region, PageRun within, uint64_t pages_max, const Rules& rules,
                           Victims* victims, EvictionResult* result) {
  PageIndex page = within.first;
  Pins::View pins(*region.pins);
  const auto enough = [&] {
    const uint64_t spills = rules.spilling == nullptr ? 0 : rules.spilling->pages;
    return victims->pages + spills + result->cleaning_pages >= pages_max ||
           spills >= rules.spills_max;
  };
  for (; page < within.end() && !enough(); page++) {
    bool dirty = false;
    bool cleaning = false;
    bool unsynced = false;
    bool again = false;
    bool chance = false;
    bool stays = false;
    const bool is_pinned = !rules.pinned && pins.Has(page);
    PageWord after = 0;
    do {
      const PageWord before = ChangePage(
          *region.table, page,
          [&](PageWord word) {
            dirty = cleaning = unsynced = again = chance = stays = false;
            if (StateOf(word) != PageState::kPresent) return word;
            if (!rules.cold.Has(word)) return word;
            stays = is_pinned;
            if (stays) return word;
            // What is being written back will be clean soon.
            if ((word & kWriteback) != 0) {
              cleaning = rules.cleans && !Spares(rules.pick, word);
              return word;
            }
            if ((word & kHeld) != 0 && !rules.held) return word;
            unsynced = (word & (kDirty | kUnsynced)) == kUnsynced;
            dirty = (word & kUnsafe) != 0;
            again = dirty && rules.dirty;
            if (again) return GivenUp(word) & ~kWritable;
            const bool spills = dirty && rules.spilling != nullptr;
            if (dirty && !spills && !rules.cleans) return word;
            if (Spares(rules.pick, word)) return word;
            chance = (word & kUses) != 0 && rules.pick != Pick::kAll;
            if (chance) return WithoutUse(word);
            cleaning = dirty && !spills;
            if (cleaning) return word;
            dirty = false;
            const PageWord elsewhere = spills ? kElsewhere : 0;
            return WithState(word & ~kOfReach, PageState::kEvicting) | elsewhere;
          },
          &after);
      if (StateOf(after) == PageState::kEvicting && StateOf(before) == PageState::kPresent) {
        Victims& taken = (after & kUnsafe) == 0 ? *victims : *rules.spilling;
        AppendPage(taken.runs, page);
        taken.pages++;
      }
    } while (again);
    if (chance) victims->chances++;
    if (cleaning) result->cleaning_pages++;
    if (stays) result->pinned_pages++;
    if (dirty) result->dirty_pages++;
    if (unsynced) result->unsynced_pages++;
    const PageState state = StateOf(after);
    if (rules.busy == nullptr) continue;
    const bool moves = state == PageState::kFilling || state == PageState::kCopying;
    if (moves || (after & kWriteback) != 0) AppendPage(*rules.busy, page);
  }
  return page;
}

void Evictor::Drop(Victims& victims) {
  Region& region = *victims.region;
  region.memory->Drop(victims.runs);
  for (const PageRun& run : victims.runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      const PageWord before = ChangePage(*region.table, page, [&](PageWord word) {
        const PageWord ghost = (word & kTrial) != 0 ? victims.stamp : 0;
        return WithState(word & ~(kWaiters | kOfUse), PageState::kAbsent) | ghost;
      });
      if ((before & kWaiters) != 0) waiters_.WakeAll(victims.region, page, Code::kOk);
    }
  }
  region.frames.Return(victims.pages);
  budget_.Return(victims.pages);
  region.evicted_pages.fetch_add(victims.pages, std::memory_order_relaxed);
  evicted_.fetch_add(victims.pages, std::memory_order_relaxed);
  TidyChunks(region, victims.runs);
  GiveTablesBack(region);
}

void Evictor::TidyChunks(Region& region, const std::vector<PageRun>& runs) {
  PageTable& table = *region.table;
  Summary& summary = table.present_summary();
  uint64_t chunk_done = ~uint64_t{0};
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      if (page / kSummaryPages == chunk_done) continue;
      chunk_done = page / kSummaryPages;
      const PageIndex first = chunk_done * kSummaryPages;
      const PageIndex end = std::min(first + kSummaryPages, table.pages());
      const std::lock_guard<std::mutex> lock(tidy_mutex_);
      summary.Clear(chunk_done);
      bool empty = true;
      for (PageIndex at = first; at < end && empty; at++) empty = !HoldsFrame(table.Load(at));
      if (!empty) summary.Set(first);
    }
  }
}

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
  GoRound(work, pages, 1, Pick::kProven, result);
  GoRound(work, pages, kRoundsMax, Pick::kUnaccessed, result);
  // Where all of them are used again before the hand comes back, one goes nevertheless: what may go
  // into an overlay is no reason to say that memory is full.
  if (work.spills && work.gone() == 0) GoRound(work, 1, 1, Pick::kAll, result);
  if (work.claimed + work.spilled != 0) shootdown_.WaitGracePeriod();
  for (Victims& victims : work.batch) Drop(victims);
  result->evicted_pages += work.claimed;
  result->dirty_pages = std::accumulate(work.dirty.begin(), work.dirty.end(), uint64_t{0});
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
  if (hand_region_ >= regions.size()) hand_region_ = 0;
  const size_t start_region = work.all ? hand_region_ : 0;
  const PageIndex start_page = hand_page_;
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
    result->dirty_pages = result->cleaning_pages = 0;
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
    if (work.all) hand_region_ = index;
    hand_page_ = at;
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

void Evictor::CollectRun(Region& region, PageRun run, const Rules& rules, Victims* victims,
                         EvictionResult* result) {
  Summary& summary = region.table->present_summary();
  const PageIndex end = std::min(run.end(), region.table->pages());
  for (uint64_t chunk = summary.Next(run.first / kSummaryPages); chunk < summary.chunks();
       chunk = summary.Next(chunk + 1)) {
    const PageIndex first = std::max(run.first, chunk * kSummaryPages);
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    if (first >= end) break;
    Collect(region, {first, last - first}, ~uint64_t{0}, rules, victims, result);
  }
}

EvictionResult Evictor::Reclaim(const std::shared_ptr<Region>& region, PageRun run,
                                bool spare_used) {
  Rules rules;
  rules.pick = spare_used ? Pick::kNeverUsed : Pick::kAll;
  return Take(region, {&run, 1}, rules);
}

EvictionResult Evictor::Discard(const std::shared_ptr<Region>& region, PageRun run) {
  Rules rules;
  rules.pick = Pick::kAll;
  rules.dirty = true;
  return Take(region, {&run, 1}, rules);
}

EvictionResult Evictor::Invalidate(const std::shared_ptr<Region>& region,
                                   std::span<const PageRun> runs, bool discard,
                                   std::vector<PageRun>* busy) {
  Rules rules{Pick::kAll, true, discard, busy};
  rules.pinned = true;
  return Take(region, runs, rules);
}

EvictionResult Evictor::Take(const std::shared_ptr<Region>& region,
                             std::span<const PageRun> runs, const Rules& rules) {
  AwaitLent(*region);
  std::unique_lock<std::mutex> sweep(mutex_, std::defer_lock);
  // Who wants every page to be gone must not miss those that may come back.
  if (rules.dirty || rules.busy != nullptr) {
    sweep = LockAtRest(*region);
  } else {
    sweep.lock();
  }
  EvictionResult result;
  Victims victims{region, {}, 0};
  const uint64_t begin_ns = NowNs();
  for (const PageRun& run : runs) CollectRun(*region, run, rules, &victims, &result);
  if (victims.pages != 0) {
    shootdown_.WaitGracePeriod();
    result.shootdown_ns = NowNs() - begin_ns;
    Drop(victims);
  }
  result.evicted_pages = victims.pages;
  if (!rules.dirty) return result;
  for (const PageRun& run : runs) result.evicted_pages += DiscardElsewhere(region, run);
  return result;
}

void Evictor::Enforce(Region& region, PageRun run) {
  PageTable& table = *region.table;
  const PageIndex end = std::min(run.end(), table.pages());
  for (uint64_t chunk = NextPresent(table, run.first / kSummaryPages);
       chunk * kSummaryPages < end; chunk = NextPresent(table, chunk + 1)) {
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    const Protection::View view(*region.protection);
    for (PageIndex page = std::max(run.first, chunk * kSummaryPages); page < last; page++) {
      const PageWord forbidden = view.Forbidden(page);
      ChangePage(table, page, [&](PageWord word) {
        const PageState state = StateOf(word);
        if (state != PageState::kPresent && state != PageState::kCopying) return word;
        // The right to write comes with the next write, as after a write-back.
        return (word | kReadable) & ~forbidden;
      });
    }
  }
}

void Evictor::SweepAges(PageWord now) {
  const PageWord oldest = now - (kAgeTicksMax << kUsedShift);
  for (const auto& region : Regions()) {
    PageTable& table = *region->table;
    for (uint64_t chunk = NextPresent(table, 0); chunk * kSummaryPages < table.pages();
         chunk = NextPresent(table, chunk + 1)) {
      const PageIndex end = std::min(table.pages(), (chunk + 1) * kSummaryPages);
      for (PageIndex page = chunk * kSummaryPages; page < end; page++) {
        ChangePage(table, page, [&](PageWord word) {
          const PageState state = StateOf(word);
          const bool here = state == PageState::kPresent || state == PageState::kCopying;
          const bool old = here && AgeTicks(word, now) > kAgeTicksMax;
          return old ? (word & ~kUsed) | oldest : word;
        });
      }
    }
  }
}

}  // namespace farpage
