#include "pager/indicators.h"

#include <time.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "pager/dirty_pages.h"
#include "pager/page_change.h"

namespace farpage {
namespace {

constexpr long kBusyNapNs = 200'000;

template <typename Each>
void ForEachUnsafe(PageTable& table, PageRun run, Each each) {
  Summary& summary = table.dirty_summary();
  const PageIndex end = std::min(run.end(), table.pages());
  for (uint64_t chunk = summary.Next(run.first / kSummaryPages);
       chunk < summary.chunks() && chunk * kSummaryPages < end; chunk = summary.Next(chunk + 1)) {
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    for (PageIndex page = std::max(run.first, chunk * kSummaryPages); page < last; page++) {
      if ((table.Load(page) & kUnsafe) != 0) each(page);
    }
  }
}

uint64_t CountUnsafe(PageTable& table, PageRun run) {
  uint64_t count = 0;
  ForEachUnsafe(table, run, [&](PageIndex) { count++; });
  return count;
}

// A page that was lost with bytes nobody else had: given up, it is filled anew at the next touch.
uint64_t HealLost(PageTable& table, PageRun run) {
  uint64_t healed = 0;
  ForEachUnsafe(table, run, [&](PageIndex page) {
    const PageWord before = ChangePage(table, page, [](PageWord word) {
      if (StateOf(word) != PageState::kLost) return word;
      return WithState(GivenUp(word) & kHistory, PageState::kAbsent);
    });
    if (StateOf(before) == PageState::kLost) healed++;
  });
  return healed;
}

bool Moves(PageWord word) {
  const PageState state = StateOf(word);
  return state == PageState::kFilling || state == PageState::kCopying || (word & kWriteback) != 0;
}

// Waits until each page was seen at rest; false: not before the deadline.
bool AwaitRest(const Region& region, const std::vector<PageRun>& runs, uint64_t deadline_ns) {
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      while (Moves(region.table->Load(page))) {
        if (NowNs() > deadline_ns || region.removed.load(std::memory_order_acquire)) return false;
        const timespec nap{0, kBusyNapNs};
        ::nanosleep(&nap, nullptr);
      }
    }
  }
  return true;
}

uint64_t PagesIn(const std::vector<PageRun>& runs) {
  uint64_t pages = 0;
  for (const PageRun& run : runs) pages += run.count;
  return pages;
}

}  // namespace

void Indicators::Enforce(Region& region, PageRun run) {
  evictor_.Enforce(region, run);
  // Turns that looked at a word before.
  shootdown_.WaitGracePeriod();
}

Status Indicators::Protect(Region& region, PageRun run, Permission permission) {
  run.count = std::min(run.end(), region.table->pages()) - run.first;
  if (Status set = region.protection->Set(run, permission); !set.ok()) return set;
  Enforce(region, run);
  return {};
}

Status Indicators::Protect(const Reservation& reservation, PageRun run, Permission permission) {
  if (Status set = reservation.protection->Set(run, permission); !set.ok()) return set;
  // One that is allocated from here on has no page that did not look at the new list.
  if (const auto region = reservation.region()) Enforce(*region, run);
  return {};
}

EvictionResult Indicators::Sweep(const std::shared_ptr<Region>& region,
                                 std::span<const PageRun> runs, DirtyRule rule,
                                 std::vector<PageRun>* busy) {
  if (rule != DirtyRule::kDiscard) return evictor_.Invalidate(region, runs, false, busy);
  // Nothing is on its way to the store meanwhile: what is dirty is just dirty.
  const auto no_write_back = WriteBack::Pause(*region);
  uint64_t healed = 0;
  for (const PageRun& run : runs) healed += HealLost(*region->table, run);
  EvictionResult result = evictor_.Invalidate(region, runs, true, busy);
  for (const PageRun& run : runs) TidySummary(*region->table, run.first, run.end());
  result.evicted_pages += healed;
  return result;
}

Invalidation Indicators::Invalidate(const std::shared_ptr<Region>& region, PageRun run,
                                    DirtyRule rule) {
  Invalidation outcome;
  if (rule == DirtyRule::kRefuse) outcome.dirty_pages = CountUnsafe(*region->table, run);
  if (outcome.dirty_pages != 0) return outcome;
  const uint64_t deadline_ns = NowNs() + kInvalidateWaitNs;
  std::vector<PageRun> runs{run};
  while (!runs.empty()) {
    std::vector<PageRun> busy;
    const EvictionResult swept = Sweep(region, runs, rule, &busy);
    outcome.pages += swept.evicted_pages;
    outcome.dirty_pages += swept.dirty_pages;
    outcome.shootdown_ns += swept.shootdown_ns;
    runs = std::move(busy);
    // Only what was under way at the first look: whoever touches a page later fills it anew.
    if (AwaitRest(*region, runs, deadline_ns)) continue;
    outcome.busy_pages = PagesIn(runs);
    return outcome;
  }
  return outcome;
}

Invalidation Indicators::Reclaim(const std::shared_ptr<Region>& region, PageRun run,
                                 DirtyRule rule) {
  Invalidation outcome;
  if (rule == DirtyRule::kRefuse) outcome.dirty_pages = CountUnsafe(*region->table, run);
  if (outcome.dirty_pages != 0) return outcome;
  EvictionResult swept;
  if (rule == DirtyRule::kDiscard) {
    const auto no_write_back = WriteBack::Pause(*region);
    swept = evictor_.Discard(region, run);
  } else {
    swept = evictor_.Reclaim(region, run);
  }
  outcome.pages = swept.evicted_pages;
  outcome.pinned_pages = swept.pinned_pages;
  outcome.dirty_pages = swept.dirty_pages;
  outcome.shootdown_ns = swept.shootdown_ns;
  return outcome;
}

}  // namespace farpage
