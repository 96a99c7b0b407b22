// Pages whose newest bytes were lost, made well by new bytes for all of them.
#include "memory/region_copy.h"
#include "pager/filler.h"
#include "pager/page_change.h"
#include "pager/pager.h"
#include "pager/permit.h"

namespace farpage {

// The page stays claimed until it has the new bytes: nobody sees what its store has of it, which
// is older than what was lost.
FaultOutcome Pager::Overwrite(const std::shared_ptr<Region>& region, PageIndex page,
                              std::span<const std::byte> bytes, FaultWaiter* waiter,
                              uint64_t token) {
  FaultOutcome outcome;
  outcome.next = FaultOutcome::Next::kFailed;
  outcome.code = Code::kAccess;
  if (!region->writable || !MayHave(*region, page, kWritable)) return outcome;
  outcome.code = Code::kRegionRemoved;
  if (region->removed.load(std::memory_order_acquire)) return outcome;
  outcome.code = Code::kOk;
  outcome.next = FaultOutcome::Next::kAgain;
  PageWord word = region->table->Load(page);
  if (StateOf(word) != PageState::kLost) return outcome;
  // Dirty from now on, and of this epoch: what of an earlier one was lost is no sync's any more.
  const PageWord history = (word & kHistory) | kWritten | kDirty | region->table->Epoch();
  if (!region->table->Change(page, word, WithState(history, PageState::kFilling))) return outcome;
  const bool waits = Await(*region, page, FaultKind::kWrite, waiter, token);
  if (!filler_.SubmitWhole(region, page, {bytes.begin(), bytes.end()})) {
    filler_.LoseAgain(region, page, Code::kOk);
    return outcome;
  }
  if (waits) outcome.next = FaultOutcome::Next::kPending;
  return outcome;
}

bool Filler::SubmitWhole(const std::shared_ptr<Region>& region, PageIndex page,
                         std::vector<std::byte> bytes) {
  return Queue({region, {page, 1}, std::move(bytes), true, DeviceOf(*region, page)});
}

void Filler::FillWhole(const Job& job) {
  const PageIndex page = job.run.first;
  if (const Code room = WaitForFrame(*job.region, true); room != Code::kOk) {
    LoseAgain(job.region, page, room);
    return;
  }
  Status placed = job.region->memory->MakeRoom(job.run);
  std::byte* at = job.region->memory->address() + job.run.offset_bytes();
  if (placed.ok() && !CopyToRegion(at, job.whole.data(), job.whole.size())) {
    placed = Error{Code::kPageLost, 0, "copy into a lost page"};
  }
  if (placed.ok()) {
    Install(job.region, job.run);
  } else {
    ReturnFrames(*job.region, budget_, 1);
    LoseAgain(job.region, page, placed.error().code);
  }
}

void Filler::LoseAgain(const std::shared_ptr<Region>& region, PageIndex page, Code code) {
  const PageWord before = ChangePage(*region->table, page, [](PageWord word) {
    return WithState(word & kLastingAbsent, PageState::kLost);
  });
  if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, code);
}

void Filler::GiveUp(const Job& job, Code code) {
  if (job.whole.empty()) {
    GiveUp(job.region, job.run, code);
  } else {
    LoseAgain(job.region, job.run.first, code);
  }
}

}  // namespace farpage
