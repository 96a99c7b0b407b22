#include "pager/evictor.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "pager/page_change.h"

namespace farpage {
namespace {

// What a page loses when it goes: the rights, and what was remembered of its use.
constexpr PageWord kOfUse =
    kReadable | kWritable | kUses | kHeld | kAhead | kTrial | kUnused | kUsed;

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

bool Evictor::Spares(Pick pick, PageWord word) {
  switch (pick) {
    case Pick::kOnTrial: return !OnTrial(word);
    case Pick::kProven: return OnTrial(word);
    case Pick::kNeverUsed: return OnTrial(word) && (word & kUnused) == 0;
    case Pick::kUnaccessed:
    case Pick::kAll: break;
  }
  return false;
}

PageIndex Evictor::Collect(Region& region, PageRun within, uint64_t pages_max, const Rules& rules,
                           Victims* victims, EvictionResult* result) {
  const PageWord stamp = rules.ghosts ? GhostNow(region) : 0;
  PageIndex page = within.first;
  Pins::View pins(*region.pins);
  for (; page < within.end() && victims->pages < pages_max; page++) {
    bool dirty = false;
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
            dirty = unsynced = again = chance = stays = false;
            if (StateOf(word) != PageState::kPresent) return word;
            if (!rules.cold.Has(word)) return word;
            stays = is_pinned;
            if (stays) return word;
            // What is being written back will be clean soon.
            if ((word & kWriteback) != 0) return word;
            if ((word & kHeld) != 0 && !rules.held) return word;
            unsynced = (word & (kDirty | kUnsynced)) == kUnsynced;
            dirty = (word & kUnsafe) != 0;
            again = dirty && rules.dirty;
            if (again) return GivenUp(word) & ~kWritable;
            if (dirty) return word;
            if (Spares(rules.pick, word)) return word;
            chance = (word & kUses) != 0 && rules.pick != Pick::kAll;
            if (chance) return WithoutUse(word);
            const PageWord ghost = OnTrial(word) ? stamp : 0;
            return WithState(word & ~kOfUse, PageState::kEvicting) | ghost;
          },
          &after);
      if (StateOf(after) == PageState::kEvicting && StateOf(before) == PageState::kPresent) {
        AppendPage(victims->runs, page);
        victims->pages++;
      }
    } while (again);
    if (chance) victims->chances++;
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
      const PageWord before = ChangePage(*region.table, page, [](PageWord word) {
        // What went into a tier knows when it was used, and what was clean when it went.
        const PageWord use = (word & kElsewhere) != 0 ? kUsed : 0;
        return WithState(word & ~(kWaiters | use), PageState::kAbsent);
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

EvictionResult Evictor::Evict(uint64_t pages, const Region* only) {
  std::unique_lock<std::mutex> sweep(mutex_);
  auto regions = Regions();
  if (only != nullptr) std::erase_if(regions, [&](const auto& r) { return r.get() != only; });
  EvictionResult result;
  if (regions.empty()) return result;
  for (const auto& region : regions) result.table_pages += GiveTablesBack(*region);
  if (result.table_pages >= pages) return result;
  pages -= result.table_pages;
  Sweep work{regions, only == nullptr, {}, std::vector<uint64_t>(regions.size())};
  // A scan is used once: what is on trial beyond its share goes before what was used again.
  uint64_t trial = 0;
  uint64_t frames = 0;
  for (const auto& region : regions) {
    trial += region->table->trial();
    frames += region->frames.used();
  }
  const uint64_t share = frames / kTrialPart;
  if (trial > share) GoRound(work, std::min(pages, trial - share), 1, Pick::kOnTrial, &result);
  if (work.claimed < pages) GoRound(work, pages, 1, Pick::kProven, &result);
  if (work.claimed < pages) GoRound(work, pages, kRoundsMax, Pick::kUnaccessed, &result);
  if (work.claimed != 0) shootdown_.WaitGracePeriod();
  for (Victims& victims : work.batch) Drop(victims);
  result.evicted_pages = work.claimed;
  result.dirty_pages = std::accumulate(work.dirty.begin(), work.dirty.end(), uint64_t{0});
  // Clean first: what is dirty costs a copy, or a write.
  if (work.claimed < pages) {
    Spill(regions, std::min(pages - work.claimed, kSpillPagesMax), sweep, &result);
  }
  return result;
}

void Evictor::GoRound(Sweep& work, uint64_t pages, size_t rounds, Pick pick,
                      EvictionResult* result) {
  const auto& regions = work.regions;
  Rules rules;
  rules.pick = pick;
  rules.ghosts = true;
  if (hand_region_ >= regions.size()) hand_region_ = 0;
  const size_t start_region = work.all ? hand_region_ : 0;
  const PageIndex start_page = hand_page_;
  uint64_t moved = 0;
  for (size_t step = 0; step <= rounds * regions.size() && work.claimed < pages; step++) {
    const size_t index = (start_region + step) % regions.size();
    Region& region = *regions[index];
    Summary& summary = region.table->present_summary();
    Victims victims{regions[index], {}, 0};
    result->dirty_pages = 0;
    const PageIndex end = region.table->pages();
    const uint64_t wanted = pages - work.claimed;
    PageIndex at = step == 0 ? start_page : 0;
    while (at < end && victims.pages < wanted) {
      const uint64_t chunk = summary.Next(at / kSummaryPages);
      const PageIndex first = std::max(at, chunk * kSummaryPages);
      const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
      at = first < end ? Collect(region, {first, last - first}, wanted, rules, &victims, result)
                       : end;
    }
    work.dirty[index] = result->dirty_pages;
    if (work.all) hand_region_ = index;
    hand_page_ = at;
    work.claimed += victims.pages;
    moved += victims.pages + victims.chances;
    if (victims.pages != 0) work.batch.push_back(std::move(victims));
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
