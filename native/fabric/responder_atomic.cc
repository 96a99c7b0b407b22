// Atomic requests of a Responder (RFC 7306).
#include "fabric/responder.h"
#include "memory/region_copy.h"

namespace farpage {
namespace {

// Compare-and-swap rounds of a masked atomic before the turn gives way to others.
constexpr int kAtomicRoundsMax = 64;

}  // namespace

Responder::Step Responder::ServeAtomic(Pending& pending) {
  const AtomicRequest& request = pending.atomic;
  if (!send_.HasRoom(kAtomicResponseFpdu, 1)) return Step::kBlocked;
  const MemoryRegion* target = domain_->Find(request.stag);
  TerminateCode refusal{};
  Code reason = Code::kOk;
  if (target == nullptr || target->removed()) {
    refusal = kTermReadStag;
    reason = target == nullptr ? Code::kStag : Code::kRegionRemoved;
  } else if (request.operation != kAtomicFetchAdd && request.operation != kAtomicCompareSwap) {
    refusal = kTermRdmapOpcode;
    reason = Code::kProtocol;
  } else if (request.offset > target->length_bytes || target->length_bytes - request.offset < 8) {
    refusal = kTermReadBounds;
    reason = Code::kBounds;
  } else if ((request.offset & 7) != 0 || ((target->region_offset + request.offset) & 7) != 0) {
    refusal = kTermAtomicAlignment;
    reason = Code::kAlignment;
  } else if (!target->writable) {
    refusal = kTermReadAccess;
    reason = Code::kAccess;
  }
  if (reason != Code::kOk) {
    FailPending(pending, refusal, reason);
    return Step::kFailed;
  }
  if (target->region == nullptr) return AwaitRegion(pending, *target);
  Region& region = *target->region;
  const uint64_t offset = target->region_offset + request.offset;
  const PageIndex page = offset >> kPageShift;
  if (!region.table->MarkDirty(page)) {
    uint64_t ready = 0;
    const Step step = Await(pending, *target, {page, 1}, FaultKind::kWrite, &ready);
    if (ready == 0) return step;
    if (!region.table->MarkDirty(page)) return Step::kAgain;
  }
  if ((region.table->Load(page) & kHeld) != 0) region.table->ClearFlags(page, kHeld);
  uint64_t old_value = 0;
  const Step executed = Execute(request, region.memory->address() + offset, &old_value);
  if (executed == Step::kFailed) FailPending(pending, kTermLocal, Code::kPageLost);
  if (executed != Step::kDone) return executed;
  std::byte* to = send_.Tail();
  EncodeAtomicResponse(to, atomic_msn_++, {request.request_id, old_value});
  send_.Commit(SealFpdu(to, crc_));
  turn_bytes_ += 8;
  CountOperation(region, pending.faulted, sizeof(uint64_t));
  return Step::kDone;
}

Responder::Step Responder::Execute(const AtomicRequest& request, std::byte* at,
                                   uint64_t* old_value) {
  if (request.operation == kAtomicFetchAdd && request.mask == 0) {
    return AtomicFetchAdd(at, request.operand, old_value) ? Step::kDone : Step::kFailed;
  }
  if (!AtomicLoad(at, old_value)) return Step::kFailed;
  for (int round = 0; round < kAtomicRoundsMax; round++) {
    const uint64_t next = request.operation == kAtomicFetchAdd
                              ? ApplyFetchAdd(*old_value, request.operand, request.mask)
                              : ApplyCompareSwap(*old_value, request);
    bool done = false;
    if (!AtomicExchangeIf(at, old_value, next, &done)) return Step::kFailed;
    if (done) return Step::kDone;
  }
  return Step::kAgain;
}

}  // namespace farpage
