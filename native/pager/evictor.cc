#include "pager/evictor.h"

#include <algorithm>

#include "base/clock.h"
#include "pager/page_change.h"
#include "pager/pager_marks.h"

namespace farpage {
namespace {

// What a page loses that has gone, but for when it went.
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

std::shared_ptr<Region> Evictor::FilledByWriter() {
  std::shared_ptr<Region> most;
  for (auto& region : Regions()) {
    if (!HasFilledMemory(*region, budget_.max())) continue;
    if (most == nullptr || region->table->dirty() > most->table->dirty()) most = region;
  }
  return most;
}

void Evictor::Drop(Victims& victims) {
  Region& region = *victims.region;
  GiveMemoryBack(region, victims.runs);
  for (const PageRun& run : victims.runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      const PageWord before = ChangePage(*region.table, page, [&](PageWord word) {
        return WithState(word & ~(kWaiters | kOfUse), PageState::kAbsent) | victims.stamp;
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
