// READ requests of a Responder: from the pending queue to the send queue.
#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "fabric/responder.h"
#include "memory/region_copy.h"

namespace farpage {
namespace {

// Requests whose page word and bytes are asked of the memory before their turn comes: scattered
// small READs otherwise wait for two cache and TLB misses each.
constexpr uint32_t kWarmAhead = 6;

}  // namespace

void Responder::CountOperation(Region& region, bool faulted, uint64_t bytes) {
  OperationCounters& lane = region.operations[context_->lane];
  OperationCounters::Add(faulted ? lane.faulted : lane.bypassed, 1);
  OperationCounters::Add(lane.bytes, bytes);
  operations_++;
}

// Starts the loads that serving a READ will need. Decides nothing: a wrong guess costs a load.
void Responder::Warm(const Pending& pending) const {
  const MemoryRegion* target = domain_->Find(pending.read.source_stag);
  if (pending.is_atomic || target == nullptr || target->region == nullptr ||
      pending.read.source_offset >= target->length_bytes) {
    return;
  }
  const uint64_t offset = target->region_offset + pending.read.source_offset;
  target->region->table->Warm(offset >> kPageShift);
  __builtin_prefetch(target->region->memory->address() + offset);
}

// How far a request faults ahead of what it sends. 0: in so few frames only what is waited for.
uint64_t Responder::WindowBytes(const Region& region) const {
  const uint64_t window =
      std::min(context_->window_bytes >> kPageShift, WindowPages(region.frames.max()));
  return window << kPageShift;
}

void Responder::Serve() {
  for (uint32_t n = 1; n < count_ && n < kWarmAhead; n++) Warm(pending(n));
  while (count_ != 0 && state_ == State::kStreaming) {
    Pending& head = pending(0);
    if (count_ > kWarmAhead) Warm(pending(kWarmAhead));
    const Step step = ServeOne(head);
    if (step == Step::kAgain) again_ = true;
    if (step == Step::kBlocked) blocked_ = true;
    if (step == Step::kWaiting) {
      if (any_order_ && !head.is_atomic) {
        ServeOutOfOrder();
      } else {
        Prefetch();
      }
      return;
    }
    if (step != Step::kDone) return;
    Release(head.waits_in, head.waits_for);
    first_ = (first_ + 1) % kMpaDepthMax;
    count_--;
  }
}

// For an initiator that takes answers in any order: READs behind a waiting head that are ready.
// They leave their places in the queue, which the initiator fills again. Atomics are barriers.
void Responder::ServeOutOfOrder() {
  uint32_t kept = 1;
  bool stop = false;
  for (uint32_t n = 1; n < count_; n++) {
    Pending& behind = pending(n);
    stop = stop || behind.is_atomic || state_ != State::kStreaming;
    if (!stop && !behind.waiting) {
      const Step step = ServeOne(behind);
      if (step == Step::kDone) {
        Release(behind.waits_in, behind.waits_for);
        continue;
      }
      if (step == Step::kAgain) again_ = true;
      if (step == Step::kBlocked) blocked_ = true;
      // Who is behind one that has to wait for the next turn is judged then, not before it.
      stop = step == Step::kBlocked || step == Step::kFailed ||
             (step == Step::kAgain && (put_off_ || turn_reads_ >= context_->turn_reads));
    }
    if (kept != n) pending(kept) = std::move(behind);
    kept++;
  }
  count_ = kept;
}

// For standard peers, whose answers keep their order, and behind an atomic: the faults of requests
// behind a waiting head overlap with its own.
void Responder::Prefetch() {
  for (uint32_t n = 1; n < count_; n++) {
    Pending& behind = pending(n);
    if (behind.is_atomic || behind.prefetched) continue;
    if (PutsOffRead()) {
      again_ = true;
      return;
    }
    behind.prefetched = true;
    const MemoryRegion* target = domain_->Find(behind.read.source_stag);
    if (target == nullptr || target->removed() ||
        behind.read.source_offset > target->length_bytes ||
        behind.read.size_bytes > target->length_bytes - behind.read.source_offset) {
      continue;  // its error is told when its turn comes
    }
    if (target->region == nullptr) {
      if (behind.read.size_bytes != 0) AskAhead(*target, pending(0).waits_at);
      continue;
    }
    const uint64_t window = WindowBytes(*target->region);
    if (window == 0) continue;
    const PageRun run = PagesOf(target->region_offset + behind.read.source_offset,
                                std::min<uint64_t>(behind.read.size_bytes, window));
    for (PageIndex page = run.first; page < run.end(); page++) {
      if ((target->region->table->Load(page) & kReadable) != 0) continue;
      behind.faulted = true;
      turn_reads_++;
      (void)context_->pager->Fault(target->region, {page, run.end() - page}, FaultKind::kRead,
                                   nullptr, 0, nullptr, context_->fills);
      break;
    }
  }
}

Responder::Step Responder::ServeOne(Pending& pending) {
  if (pending.waiting) return Step::kWaiting;
  // A read was long enough for one turn: others on the loop are looked at first (PutsOffRead).
  if (turn_reads_ != 0 && context_->turn_reads == kTurnReadsShort) return Step::kAgain;
  const bool full = pending.failed == Code::kMemoryFull || pending.failed == Code::kNoSpace;
  if (pending.failed != Code::kOk && (pending.is_atomic || !full)) {
    FailPending(pending, kTermLocal, pending.failed);
    return Step::kFailed;
  }
  return pending.is_atomic ? ServeAtomic(pending) : ServeRead(pending);
}

Responder::Step Responder::ServeRead(Pending& pending) {
  const ReadRequest& read = pending.read;
  if (read.size_bytes == 0) {
    if (!send_.HasRoom(kTaggedHeaderBytes + 8, 1)) return Step::kBlocked;
    EmitEmptyResponse(pending);
    return Step::kDone;
  }
  const MemoryRegion* target = domain_->Find(read.source_stag);
  if (target == nullptr || target->removed()) {
    FailPending(pending, kTermReadStag, target == nullptr ? Code::kStag : Code::kRegionRemoved);
    return Step::kFailed;
  }
  if (read.source_offset + read.size_bytes < read.source_offset) {
    FailPending(pending, kTermReadWrap, Code::kBounds);
    return Step::kFailed;
  }
  if (read.source_offset + read.size_bytes > target->length_bytes) {
    FailPending(pending, kTermReadBounds, Code::kBounds);
    return Step::kFailed;
  }
  if (target->region == nullptr) return AwaitRegion(pending, *target);
  while (pending.done_bytes < read.size_bytes) {
    if (turn_bytes_ >= kTurnBytesMax) return Step::kAgain;
    const uint64_t offset = target->region_offset + read.source_offset + pending.done_bytes;
    const uint32_t left = read.size_bytes - pending.done_bytes;
    uint32_t bytes = TaggedSegmentBytes(offset, left, max_ulpdu_, 1);
    const PageRun run = PagesOf(offset, bytes);
    PageTable& table = *target->region->table;
    uint64_t ready = 0;
    const PageWord hot = kOften | table.UsedNow();
    while (ready < run.count) {
      const PageWord word = table.Load(run.first + ready);
      if ((word & kReadable) == 0) break;
      if ((word & (kOften | kHeld | kAhead | kUsed)) != hot) {
        if ((word & kAhead) != 0) {
          context_->pager->Advance(target->region, run.first + ready, &stream_);
        }
        table.Use(run.first + ready, word);
      }
      ready++;
    }
    const std::byte* from = target->region->memory->address() + offset;
    const std::byte* lent = nullptr;
    if (ready == 0 && pending.failed != Code::kOk) {
      const Step step = ServeLent(pending, *target, offset, bytes);
      if (step != Step::kDone) return step;
      continue;
    }
    if (ready == 0 && run.count == 1 && bytes == left) lent = Lend(pending, *target, offset);
    if (lent != nullptr) {
      from = lent;
    } else if (ready < run.count) {
      // Where memory is full, what is here already goes first.
      if (pending.failed == Code::kOk) {
        const PageRun window =
            PagesOf(offset, std::min<uint64_t>(
                                left, std::max(WindowBytes(*target->region), kPageBytes)));
        const Step step = Await(pending, *target, window, FaultKind::kRead, &ready);
        if (ready == 0) return step;
      }
      // Filled here and used at once: this is the use that they were filled for.
      for (uint64_t n = 0; n < std::min(ready, run.count); n++) {
        table.ClearFlags(run.first + n, kUnused);
      }
      const uint64_t usable = ((run.first + ready) << kPageShift) - offset;
      bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, usable));
    }
    const Step emitted = EmitSegment(pending, *target, from, bytes);
    if (emitted != Step::kDone) return emitted;
  }
  CountOperation(*target->region, pending.faulted, pending.read.size_bytes);
  return Step::kDone;
}

// Whether a read is left to the next turn: this one has started as many as it may, or has moved
// bytes while others on the loop wait for its end. Moving some takes 5 us and wakes the peer, often
// on this core, where it goes first for 7 us; starting a read takes 14 us. Done in one turn they
// kept the others waiting for all of that (`bench --only beside-cold`).
bool Responder::PutsOffRead() {
  if (turn_reads_ >= context_->turn_reads) return true;
  if (context_->turn_reads != kTurnReadsShort || turn_bytes_ == 0) return false;
  if (!put_off_ && put_offs_ == kPutOffsMax) return false;
  if (!put_off_) put_offs_++;
  put_off_ = true;
  return true;
}

// Faults `run` in for a request; `ready_pages` is how many of its first pages can be used now.
Responder::Step Responder::Await(Pending& pending, const MemoryRegion& target, PageRun run,
                                 FaultKind kind, uint64_t* ready_pages) {
  pending.faulted = true;
  if (PutsOffRead()) return Step::kAgain;
  SettleLent();  // one of them may be what is waited for
  const FaultOutcome outcome = context_->pager->Fault(target.region, run, kind, context_->waiter,
                                                      token_, &stream_, context_->fills);
  *ready_pages = outcome.ready_pages;
  if (outcome.ready_pages != 0) {
    // What is ready is served first; the rest is asked for again, and a waiter that was
    // registered meanwhile only wakes us a little early.
    return Step::kDone;
  }
  switch (outcome.next) {
    case FaultOutcome::Next::kReady:
    case FaultOutcome::Next::kAgain: return Step::kAgain;
    case FaultOutcome::Next::kPending:
      // A page that it waited for before may have been filled anew since it was used.
      if (pending.waits_for != run.first) Release(pending.waits_in, pending.waits_for);
      pending.waiting = true;
      pending.waits_for = run.first;
      pending.waits_in = target.region;
      waits_++;
      turn_reads_++;
      return Step::kWaiting;
    case FaultOutcome::Next::kFailed: break;
  }
  FailPending(pending, outcome.code == Code::kAccess ? kTermReadAccess : kTermLocal,
              outcome.code);
  return Step::kFailed;
}

void Responder::OnWake(const FaultWake& wake) {
  if (wake.reservation != nullptr) {
    OnReached(wake);
    return;
  }
  bool wanted = reached_in_ == wake.region && reached_page_ == wake.page;
  // Never padded: the repeated request meets the failure by itself. Somebody else's fill may have
  // succeeded meanwhile.
  if (wanted && wake.code != Code::kOk &&
      (wake.region->table->Load(wake.page) & kReadable) == 0) {
    Break();
  }
  for (uint32_t n = 0; n < count_; n++) {
    Pending& item = pending(n);
    if (item.waits_in != wake.region || item.waits_for != wake.page) continue;
    wanted = true;
    if (!item.waiting) continue;
    item.waiting = false;
    item.failed = wake.code;
    waits_--;
    if (!send_.empty()) Yield(item);
  }
  if (stalled_in_ == wake.region && stalled_page_ == wake.page) {
    wanted = true;
    if (stalled_) write_failed_ = wake.code;
    stalled_ = false;
  }
  // Waited for once and not any more: it is held for nobody.
  if (!wanted) wake.region->table->ClearFlags(wake.page, kHeld);
}

// Lets go of a page that was filled for a wait that is over; the wait is forgotten.
void Responder::Release(std::shared_ptr<Region>& region, PageIndex page) {
  if (region == nullptr) return;
  region->table->ClearFlags(page, kHeld);
  region.reset();
}

// What has not been answered when the stream ends never will be: the pages that are, or will be,
// filled for it are nobody's, however long the peer takes to hang up.
void Responder::ForgetRequests() {
  for (uint32_t n = 0; n < count_; n++) {
    Release(pending(n).waits_in, pending(n).waits_for);
    pending(n).waits_at.reset();
  }
  count_ = 0;
  waits_ = 0;
  Release(stalled_in_, stalled_page_);
  stalled_at_.reset();
  reached_at_.reset();
}

// Lets go of the page that a request was woken for and cannot use yet.
void Responder::Yield(Pending& item) {
  if (!item.waiting && item.waits_in != nullptr) Release(item.waits_in, item.waits_for);
}

// `from`: where the bytes are now, in the region or in a page that is lent.
Responder::Step Responder::EmitSegment(Pending& pending, const MemoryRegion& target,
                                       const std::byte* from, uint32_t bytes) {
  const ReadRequest& read = pending.read;
  const uint64_t in_target = read.source_offset + pending.done_bytes;
  // What is answered without memory cannot be looked up again: a lent page may stay absent.
  const bool lent = from != target.region->memory->address() + target.region_offset + in_target;
  const bool copies =
      crc_ || bytes <= kCopyPayloadMax || lent || pending.failed != Code::kOk;
  if (!send_.HasRoom(kTaggedHeaderBytes + (copies ? bytes : 0) + 8, 3)) return Step::kBlocked;
  const bool last = pending.done_bytes + bytes == read.size_bytes;
  std::byte* to = send_.Tail();
  EncodeTagged(to, RdmapOpcode::kReadResponse, last, bytes, read.sink_stag,
               read.sink_offset + pending.done_bytes);
  const uint32_t pad = FpduPadBytes(kDdpTaggedBytes + bytes);
  if (copies) {
    if (!CopyFromRegion(to + kTaggedHeaderBytes, from, bytes)) {
      context_->pager->Lose(target.region, PagesOf(target.region_offset + in_target, bytes));
      FailPending(pending, kTermLocal, Code::kPageLost);
      return Step::kFailed;
    }
    send_.Commit(SealFpdu(to, crc_));
  } else {
    send_.Commit(kTaggedHeaderBytes);
    send_.AppendRegion(read.source_stag, in_target, from, context_->turn, bytes);
    std::memset(send_.Tail(), 0, pad + kCrcBytes);
    send_.Commit(pad + kCrcBytes);
  }
  pending.done_bytes += bytes;
  turn_bytes_ += bytes;
  bytes_read_ += bytes;
  return Step::kDone;
}

void Responder::EmitEmptyResponse(const Pending& pending) {
  std::byte* to = send_.Tail();
  EncodeTagged(to, RdmapOpcode::kReadResponse, true, 0, pending.read.sink_stag,
               pending.read.sink_offset);
  send_.Commit(SealFpdu(to, crc_));
}

// Ends the stream over a request: its headers are built again, as they came.
void Responder::FailPending(const Pending& pending, TerminateCode code, Code reason) {
  std::array<std::byte, kAtomicRequestFpdu> fpdu{};
  if (pending.is_atomic) {
    EncodeAtomicRequest(fpdu.data(), pending.msn, pending.atomic);
  } else {
    EncodeReadRequest(fpdu.data(), pending.msn, pending.read);
  }
  Terminate(code, reason, fpdu);
}

}  // namespace farpage
