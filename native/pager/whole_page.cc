// Pages that are given all their bytes at once: nothing is read for them from where they are, which
// may be far, slow or away, and those whose newest bytes were lost are well again.
#include "memory/region_copy.h"
#include "pager/filler.h"
#include "pager/page_change.h"
#include "pager/pager.h"
#include "pager/permit.h"

namespace farpage {

bool Pager::TakesWhole(const Region& region, PageIndex page) const {
  // Room in a private mapping comes with the bytes of its file.
  if (region.memory->has_private_copies()) return false;
  const PageWord word = region.table->Load(page);
  if (StateOf(word) != PageState::kAbsent) return false;
  return (word & kElsewhere) != 0 ||
         region.memory->OriginOf({page, 1}).origin != PageOrigin::kFill;
}

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
  if (StateOf(word) == PageState::kAbsent) {
    return OverwriteAbsent(region, page, bytes, waiter, token);
  }
  if (StateOf(word) != PageState::kLost) return outcome;
  // Dirty from now on, and of this epoch: what of an earlier one was lost is no sync's any more.
  // Claimed until it has the new bytes: nobody sees what its store has of it, which is older.
  const PageWord history = (word & kHistory) | kWritten | kDirty | region->table->Epoch();
  if (!region->table->Change(page, word, WithState(history, PageState::kFilling))) return outcome;
  const bool waits = Await(*region, page, FaultKind::kWrite, waiter, token);
  if (!filler_.SubmitWhole(region, page, true, {bytes.begin(), bytes.end()})) {
    filler_.LoseAgain(region, page, Code::kOk);
    return outcome;
  }
  if (waits) outcome.next = FaultOutcome::Next::kPending;
  return outcome;
}

FaultOutcome Pager::OverwriteAbsent(const std::shared_ptr<Region>& region, PageIndex page,
                                    std::span<const std::byte> bytes, FaultWaiter* waiter,
                                    uint64_t token) {
  FaultOutcome outcome;
  const auto fail = [&](Code code) {
    outcome.next = FaultOutcome::Next::kFailed;
    outcome.code = code;
    return outcome;
  };
  if (Status room = region->table->Reserve({page, 1}); !room.ok()) return fail(room.error().code);
  if (WouldStick(*region) || LacksTables(*region, page)) return fail(Code::kMemoryFull);
  outcome.next = FaultOutcome::Next::kAgain;
  write_hints_.Note(region, {page, 1});
  if (Filler::Claim(*region, {page, 1}) == 0) return outcome;
  WakeReclaim();
  // A tier may wait before it forgets a page; one in memory gives it faster than a thread comes.
  uint64_t one = 1;
  const bool elsewhere = IsElsewhere(*region, page);
  if (elsewhere && TakeInPlace(region, {page, 1}, &one) == 1) {
    outcome.ready_pages = 1;
    outcome.next = FaultOutcome::Next::kReady;
    return outcome;
  }
  const bool in_place = !elsewhere && !region->memory->has_private_copies();
  if (in_place && Filler::TryTakeFrames(*region, budget_, 1)) {
    if (Status put = filler_.PutWhole(region, page, bytes); !put.ok()) {
      filler_.DropWhole(region, page, put.error().code);
      return fail(put.error().code);
    }
    outcome.ready_pages = 1;
    outcome.next = FaultOutcome::Next::kReady;
    return outcome;
  }
  const bool waits = Await(*region, page, FaultKind::kWrite, waiter, token);
  // Which epoch it becomes dirty in is only known in a turn: a page of an atomic region is filled
  // as if a part of it was written.
  const bool begun = region->atomic
                         ? filler_.Submit(region, {page, 1}, true)
                         : filler_.SubmitWhole(region, page, false, {bytes.begin(), bytes.end()});
  if (!begun) {
    filler_.GiveUp(region, {page, 1}, Code::kOk);
  } else if (waits) {
    outcome.next = FaultOutcome::Next::kPending;
  }
  return outcome;
}

bool Filler::SubmitWhole(const std::shared_ptr<Region>& region, PageIndex page, bool was_lost,
                         std::vector<std::byte> bytes) {
  // It waits for no device but that of a tier, and so in nobody's line.
  const uint64_t device = IsElsewhere(*region, page) ? DeviceOf(*region, page)
                                                     : reinterpret_cast<uintptr_t>(this);
  return Queue({region, {page, 1}, std::move(bytes), true, device, was_lost});
}

Status Filler::PlaceWhole(const Region& region, PageIndex page, std::span<const std::byte> bytes) {
  if (Status room = region.memory->MakeRoom({page, 1}); !room.ok()) return room;
  std::byte* at = region.memory->address() + (page << kPageShift);
  if (CopyToRegion(at, bytes.data(), bytes.size())) return {};
  return Error{Code::kPageLost, 0, "copy into a page that is written as a whole"};
}

Status Filler::PutWhole(const std::shared_ptr<Region>& region, PageIndex page,
                        std::span<const std::byte> bytes) {
  if (Status placed = PlaceWhole(*region, page, bytes); !placed.ok()) return placed;
  // A sync that begins now waits for this turn before it looks (PageTable::MarkDirty).
  const PageWord epoch = region->table->Epoch();
  ChangePage(*region->table, page, [](PageWord word) { return word & ~kEpoch; });
  MakePresent(region, {page, 1}, kDirty | kWritten | epoch);
  return {};
}

// A claimed page whose bytes could not be placed, and whose frame is taken, is what it was. A part
// of them may be there already.
void Filler::DropWhole(const std::shared_ptr<Region>& region, PageIndex page, Code code) {
  const PageRun run{page, 1};
  region->memory->Drop({&run, 1});
  ReturnFrames(*region, budget_, 1);
  GiveUp(region, run, code);
}

void Filler::FillWhole(const Job& job) {
  Region& region = *job.region;
  const PageIndex page = job.run.first;
  Code room = WaitForFrame(region, true);
  if (room == Code::kNoSpace && IsElsewhere(region, page)) {
    // As in Fill: it leaves its place in a tier to what goes there for it.
    region.frames.Take(1);
    budget_.Take(1);
    room = Code::kOk;
  }
  if (room != Code::kOk) {
    GiveUp(job, room);
    return;
  }
  const Status placed = PlaceWhole(region, page, job.whole);
  if (job.was_lost) {
    if (placed.ok()) {
      MakePresent(job.region, job.run, 0);
      return;
    }
    ReturnFrames(region, budget_, 1);
    LoseAgain(job.region, page, placed.error().code);
    return;
  }
  // Who forbids it from now on comes after this WRITE.
  const bool may = MayHave(region, page, kWritable);
  if (!placed.ok() || !may) {
    DropWhole(job.region, page, placed.ok() ? Code::kAccess : placed.error().code);
    return;
  }
  if (IsElsewhere(region, page)) {
    region.overlay->Forget(page);  // its bytes there are of no use any more
    ChangePage(*region.table, page, [](PageWord word) { return word & ~kElsewhere; });
  }
  // Dirty before anybody can read it, though the waiter has still to come: never an atomic region.
  MakePresent(job.region, job.run, kDirty | kWritten);
}

void Filler::LoseAgain(const std::shared_ptr<Region>& region, PageIndex page, Code code) {
  const PageWord before = ChangePage(*region->table, page, [](PageWord word) {
    return WithState(word & kLastingAbsent, PageState::kLost);
  });
  if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, code);
}

void Filler::GiveUp(const Job& job, Code code) {
  if (job.was_lost) {
    LoseAgain(job.region, job.run.first, code);
  } else {
    GiveUp(job.region, job.run, code);
  }
}

}  // namespace farpage
