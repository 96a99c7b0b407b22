// Pages out of the overlay of their region, into memory.
#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "pager/page_change.h"
#include "pager/pager.h"
#include "pager/promotion.h"

namespace farpage {
namespace {

// Pages of one promotion that were asked for and are not there yet. A peer answers within a bound
// of its own; until then the end of this waits for it.
class Flight {
 public:
  ~Flight() { Await(0); }

  void Begin(uint64_t pages) {
    const std::lock_guard<std::mutex> lock(mutex_);
    flying_ += pages;
  }
  void End(uint64_t pages, uint64_t failed_pages) {
    const std::lock_guard<std::mutex> lock(mutex_);
    flying_ -= pages;
    come_ += pages - failed_pages;
    landed_.notify_one();  // under the lock: who waits may take this away right after
  }
  // Until no more of them than that are on their way; how many have come so far.
  uint64_t Await(uint64_t pages_max) {
    std::unique_lock<std::mutex> lock(mutex_);
    landed_.wait(lock, [&] { return flying_ <= pages_max; });
    return come_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable landed_;
  uint64_t flying_ = 0;
  uint64_t come_ = 0;
};

// Takes as many frames as there are, down to a single one; how many.
uint64_t TakeFrames(Region& region, FrameBudget& budget, uint64_t frames) {
  while (frames != 0 && !Filler::TryTakeFrames(region, budget, frames)) frames /= 2;
  return frames;
}

}  // namespace

uint64_t Pager::Promote(const std::shared_ptr<Region>& region, PageRun run) {
  if (region->overlay == nullptr) return 0;
  const RegionUse use(*region);
  if (!use.status().ok()) return 0;
  Flight flight;
  // What is in the overlay is dirty; a copy that a flush has made redundant is not worth a frame.
  Summary& summary = region->table->dirty_summary();
  const PageIndex end = std::min(run.end(), region->table->pages());
  for (PageIndex page = run.first; page < end;) {
    const uint64_t chunk = summary.Next(page / kSummaryPages);
    page = std::max(page, chunk * kSummaryPages);
    for (const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages); page < last;) {
      if (!IsElsewhere(*region, page)) {
        page++;
        continue;
      }
      const uint64_t wanted = std::min(kPromoteRunPages, last - page);
      (void)flight.Await(kPromoteFlightPages - wanted);
      uint64_t frames = TakeFrames(*region, budget_, wanted);
      if (frames == 0) {
        // What could not come has given its frame back by then.
        const uint64_t come = flight.Await(0);
        frames = TakeFrames(*region, budget_, wanted);
        if (frames == 0) return come;
      }
      const uint64_t claimed = Filler::Claim(*region, {page, frames});
      Filler::ReturnFrames(*region, budget_, frames - claimed);
      if (claimed == 0) {
        // Tables are being given back, which is soon over; else somebody else has it by now.
        if (region->table->tables().IsClosed(page)) {
          ::sched_yield();
        } else {
          page++;
        }
        continue;
      }
      const PageRun taken{page, claimed};
      page += claimed;
      if (!IsElsewhere(*region, taken.first)) {
        // It came, was written to its store and went before it was claimed: no tier has it.
        Filler::ReturnFrames(*region, budget_, claimed);
        filler_.GiveUp(region, taken, Code::kOk);
        continue;
      }
      flight.Begin(claimed);
      filler_.TakeFromOverlay(region, taken, [&flight, claimed](uint64_t failed_pages) {
        flight.End(claimed, failed_pages);
      });
    }
  }
  return flight.Await(0);
}

}  // namespace farpage
