#include "pager/filler.h"

#include <time.h>

#include <algorithm>

#include "base/clock.h"
#include "pager/page_change.h"
#include "pager/pager_marks.h"

namespace farpage {

Filler::Filler(FrameBudget& budget, Evictor& evictor, WaiterList& waiters,
               std::function<void()> press, uint32_t threads)
    : budget_(budget),
      evictor_(evictor),
      waiters_(waiters),
      press_(std::move(press)),
      device_threads_(threads) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t n = 0; n < threads; n++) AddThread();
}

Filler::~Filler() { Close(); }

bool Filler::TryTakeFrames(Region& region, FrameBudget& budget, uint64_t frames) {
  if (!region.frames.TryTake(frames)) return false;
  if (budget.TryTake(frames)) return true;
  region.frames.Return(frames);
  return false;
}

void Filler::ReturnFrames(Region& region, FrameBudget& budget, uint64_t frames) {
  region.frames.Return(frames);
  budget.Return(frames);
}

bool Filler::EvictForFrames(Region& region, uint64_t frames, bool patient,
                            EvictionResult* result, bool* full) {
  const bool own_bound = region.frames.used() + frames > region.frames.max();
  const uint64_t bound = own_bound ? region.frames.max() : budget_.max();
  if (frames > bound) return false;
  const bool filled =
      own_bound ? HasFilledMemory(region, bound) : evictor_.FilledByWriter() != nullptr;
  const bool waits = patient && HasFilledMemory(region, bound);
  // Who needs a page while somebody has filled memory makes no room for that one.
  const bool crowded = filled && !waits;
  const uint64_t extra = crowded ? 0 : std::min(kEvictionBatchPages, bound - LowMark(bound));
  *result = evictor_.Evict(frames + extra, own_bound ? &region : nullptr,
                           waits ? &region : nullptr);
  // Frames that hold no dirty or pinned page come back: their pages are on their way in or out, or
  // held for who uses them at once.
  const uint64_t stuck =
      result->dirty_pages + result->pinned_pages + (own_bound ? 0 : budget_.tables());
  const bool none_went = result->evicted_pages + result->table_pages == 0;
  const bool hopeless = stuck + frames > bound || (waits && result->refused_pages != 0);
  *full = none_went && hopeless && !result->others_move;
  if (none_went && result->dirty_pages != 0) {
    // Only dirty pages are left, beside those on their way, which a slow store may keep there.
    // Those that only lack fdatasync, or are of regions that may be written behind, become clean.
    const auto regions = evictor_.Regions();
    const bool cleans = std::any_of(regions.begin(), regions.end(), [&](const auto& item) {
      return item->write_behind && item->table->dirty() != 0 &&
             (!own_bound || item.get() == &region);
    });
    if (cleans || result->unsynced_pages != 0) {
      *full = false;
      press_();
    }
  }
  return true;
}

// A frame for one page. Waits only while there is something to wait for.
Code Filler::WaitForFrame(Region& region, bool to_write) {
  const uint64_t deadline = NowNs() + kFrameWaitNs;
  for (int hopeless = 0; !TryTakeFrames(region, budget_, 1);) {
    if (region.removed.load(std::memory_order_acquire)) return Code::kRegionRemoved;
    if (closing_.load(std::memory_order_relaxed)) return Code::kClosed;
    EvictionResult result;
    bool full = false;
    // When it was patient for long enough, it takes what there is.
    const bool late = NowNs() > deadline;
    if (!EvictForFrames(region, 1, to_write && !late, &result, &full)) return Code::kMemoryFull;
    if (result.evicted_pages + result.table_pages != 0) continue;
    // A sync may be making pages clean while the sweep looks: one look proves nothing.
    hopeless = full ? hopeless + 1 : 0;
    if (hopeless == kHopelessLooks || late) {
      return result.refused_pages != 0 ? Code::kNoSpace : Code::kMemoryFull;
    }
    Nudge();
    const timespec nap{0, 200'000};
    ::nanosleep(&nap, nullptr);
  }
  return Code::kOk;
}

void Filler::Fill(const Job& job) {
  Region& region = *job.region;
  const PageRun run = job.run;
  const RegionUse use(region);
  if (!use.status().ok()) {
    GiveUp(job, use.status().error().code);
    return;
  }
  if (!job.whole.empty()) {
    FillWhole(job);
    return;
  }
  EvictionResult result;
  bool full = false;
  if (run.count > 1 && (TryTakeFrames(region, budget_, run.count) ||
                        (EvictForFrames(region, run.count, job.to_write, &result, &full) &&
                         TryTakeFrames(region, budget_, run.count)))) {
    FillByOrigin(job.region, run);
    return;
  }
  // Page by page when the whole run finds no room: a budget of a few pages still makes progress.
  for (PageIndex page = run.first; page < run.end(); page++) {
    Code room = WaitForFrame(region, job.to_write);
    bool waits = false;
    if (room == Code::kNoSpace && IsElsewhere(region, page)) {
      // Memory and tiers are full: what comes out of a tier leaves its place to what goes in for
      // it, but comes out first. One frame beyond the bound for each fill thread, until the next
      // sweep.
      region.frames.Take(1);
      budget_.Take(1);
      room = Code::kOk;
      waits = true;
    }
    if (room != Code::kOk) {
      GiveUp(job.region, {page, run.end() - page}, room);
      return;
    }
    FillByOrigin(job.region, {page, 1}, waits);
  }
}

void Filler::FillByOrigin(const std::shared_ptr<Region>& region, PageRun run, bool waits) {
  if (IsElsewhere(*region, run.first)) {
    Status status;
    const FromOverlay how = waits ? FromOverlay::kWaiting : FromOverlay::kStarted;
    (void)FillFromOverlay(region, run, how, &status, nullptr);
    return;
  }
  while (run.count != 0) {
    const PagesFrom from = region->memory->OriginOf(run);
    const PageRun part{run.first, std::min(from.pages, run.count)};
    if (from.origin == PageOrigin::kRemote) {
      FillElsewhere(region, part);
    } else {
      (void)FillNow(region, part);
    }
    run = {part.end(), run.count - part.count};
  }
}

namespace {

/** What a source says of itself, and not of one page: asking again would only wait once more. */
bool IsOfAllPages(Code code) { return code == Code::kTimeout || code == Code::kSourceAway; }

}  // namespace

void Filler::FillElsewhere(const std::shared_ptr<Region>& region, PageRun run) {
  region->jobs.fetch_add(1, std::memory_order_acq_rel);
  region->memory->StartPopulate(run, [this, region, run](Status read) {
    if (read.ok()) {
      Install(region, run);
    } else if (run.count == 1 || IsOfAllPages(read.error().code) ||
               region->removed.load(std::memory_order_acquire)) {
      ReturnFrames(*region, budget_, run.count);
      GiveUp(region, run, read.error().code);
    } else {
      // One bad page must not fail its neighbours: the first is tried alone, who waits for the
      // others looks again.
      ReturnFrames(*region, budget_, run.count - 1);
      GiveUp(region, {run.first + 1, run.count - 1}, Code::kOk);
      FillElsewhere(region, {run.first, 1});
    }
    region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  });
}

Status Filler::FillNow(const std::shared_ptr<Region>& region, PageRun run, bool to_write) {
  RegionMemory& memory = *region->memory;
  Status populated = to_write ? memory.PopulateToWrite(run) : memory.Populate(run);
  if (populated.ok()) {
    Install(region, run);
    return populated;
  }
  if (run.count == 1) {
    ReturnFrames(*region, budget_, 1);
    GiveUp(region, run, populated.error().code);
    return populated;
  }
  for (PageIndex page = run.first; page < run.end(); page++) {
    (void)FillNow(region, {page, 1}, to_write);
  }
  return populated;
}

void Filler::Install(const std::shared_ptr<Region>& region, PageRun run, PageWord flags) {
  // Counted first: who waits for the page may look at the counters as soon as it is there.
  region->fills.filled_pages.fetch_add(run.count, std::memory_order_relaxed);
  MakePresent(region, run, flags);
}

void Filler::MakePresent(const std::shared_ptr<Region>& region, PageRun run, PageWord flags) {
  const PageWord now = evictor_.GhostNow(*region);
  for (PageIndex page = run.first; page < run.end(); page++) {
    PageWord before = 0;
    {
      // Page by page, because waking takes longer than a look may.
      const Protection::View view(*region->protection);
      const PageWord present = region->PresentFlags() & ~view.Forbidden(page);
      before = ChangePage(*region->table, page, [&](PageWord word) {
        const PageWord held = (word & kWaiters) != 0 ? kHeld : 0;
        // What comes out of a tier is as dirty as it went in.
        const PageWord lasting = kHistory | kAhead | kEpoch | kUnsafe;
        const bool again = GhostAge(word, now) < kGhostSteps;
        // Who may not go is not tried.
        const bool goes = ((word | flags) & kUnsafe) == 0 || region->table->keeps_trials();
        const PageWord trial = !goes ? 0 : again ? kUnused : kTrial | kUnused;
        return (word & lasting) | present | held | trial | flags | region->table->UsedNow();
      });
    }
    if ((before & kWaiters) == 0 || waiters_.WakeAll(region, page, Code::kOk) != 0) continue;
    region->table->ClearFlags(page, kHeld);  // all of them have gone
  }
}

void Filler::Release(const std::shared_ptr<Region>& region, PageRun run, PageWord flags) {
  for (PageIndex page = run.first; page < run.end(); page++) {
    const PageWord before = ChangePage(*region->table, page, [flags](PageWord word) {
      return WithState(word & ~kWaiters, PageState::kPresent) | flags;
    });
    if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, Code::kOk);
  }
}

uint64_t Filler::Claim(Region& region, PageRun run) {
  uint64_t claimed = 0;
  PageWord first = 0;
  for (PageIndex page = run.first; page < run.end(); page++) {
    PageWord word = region.table->Load(page);
    if (StateOf(word) != PageState::kAbsent || region.table->tables().IsClosed(page)) break;
    // Pages of one run come from the same place: the overlay, or the store.
    if (claimed == 0) first = word;
    if (((word ^ first) & kElsewhere) != 0) break;
    if (!region.table->Change(page, word, WithState(word, PageState::kFilling))) break;
    claimed++;
  }
  return claimed;
}

void Filler::GiveUp(const std::shared_ptr<Region>& region, PageRun run, Code code) {
  for (PageIndex page = run.first; page < run.end(); page++) {
    const PageWord before = ChangePage(*region->table, page, [](PageWord word) {
      return WithState(word & (kLastingAbsent | kGhost), PageState::kAbsent);
    });
    if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, code);
  }
}

}  // namespace farpage
