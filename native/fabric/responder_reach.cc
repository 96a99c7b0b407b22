// What a Responder does when an STag leads nowhere yet: its region is only reserved, and the first
// touch allocates it.
#include "fabric/responder.h"

namespace farpage {

// The region of a request has to be allocated first.
Responder::Step Responder::AwaitRegion(Pending& pending, const MemoryRegion& target) {
  if (pending.failed != Code::kOk) {
    FailPending(pending, kTermLocal, pending.failed);
    return Step::kFailed;
  }
  pending.faulted = true;
  const FaultOutcome outcome =
      context_->pager->Reach(target.reservation, context_->waiter, token_);
  switch (outcome.next) {
    case FaultOutcome::Next::kReady:
    case FaultOutcome::Next::kAgain: return Step::kAgain;
    case FaultOutcome::Next::kPending:
      pending.waiting = true;
      pending.waits_at = target.reservation;
      waits_++;
      return Step::kWaiting;
    case FaultOutcome::Next::kFailed: break;
  }
  FailPending(pending, kTermLocal, outcome.code);
  return Step::kFailed;
}

// A region can be reached that something waited for, or cannot.
void Responder::OnReached(const FaultWake& wake) {
  for (uint32_t n = 0; n < count_; n++) {
    Pending& item = pending(n);
    if (item.waits_at != wake.reservation) continue;
    item.waits_at.reset();
    item.waiting = false;
    item.failed = wake.code;
    waits_--;
  }
  if (stalled_at_ == wake.reservation) {
    stalled_at_.reset();
    if (stalled_) write_failed_ = wake.code;
    stalled_ = false;
  }
  if (reached_at_ == wake.reservation) {
    reached_at_.reset();
    // Never padded: the repeated request meets the failure by itself.
    if (wake.code != Code::kOk) Break();
  }
}

// The region of a WRITE has to be allocated first.
void Responder::StallAtRegion(const MemoryRegion& target) {
  if (write_failed_ != Code::kOk) {
    FailWrite(kTermLocal, write_failed_);
    return;
  }
  write_.faulted = true;
  const FaultOutcome outcome =
      context_->pager->Reach(target.reservation, context_->waiter, token_);
  switch (outcome.next) {
    case FaultOutcome::Next::kReady:
    case FaultOutcome::Next::kAgain: again_ = true; return;
    case FaultOutcome::Next::kPending:
      stalled_ = true;
      stalled_at_ = target.reservation;
      LookAhead();
      return;
    case FaultOutcome::Next::kFailed: FailWrite(kTermLocal, outcome.code);
  }
}

// The region of a request behind is asked for while another one is waited for; not that one
// again: if it cannot be allocated, its waiter shall hear so once.
void Responder::AskAhead(const MemoryRegion& target,
                         const std::shared_ptr<Reservation>& waited_for) {
  if (target.reservation == waited_for) return;
  (void)context_->pager->Reach(target.reservation, nullptr, 0);
}

// The region of an unsent piece has lost its range of addresses meanwhile.
void Responder::ReachRegion(const MemoryRegion& target) {
  const FaultOutcome outcome =
      context_->pager->Reach(target.reservation, context_->waiter, token_);
  if (outcome.next == FaultOutcome::Next::kPending) reached_at_ = target.reservation;
  if (outcome.next == FaultOutcome::Next::kAgain) again_ = true;
  if (outcome.next == FaultOutcome::Next::kFailed) Break();
}

}  // namespace farpage
