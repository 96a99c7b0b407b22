#include "fabric/initiator.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/page.h"
#include "fabric/dial.h"

namespace farpage {
namespace {

// Headers, trailers and copied payload of one send queue. With CRC every payload is copied, and a
// segment must fit whole.
constexpr size_t kArenaBytes = size_t{64} << 10;
constexpr size_t kArenaBytesCrc = size_t{256} << 10;
static_assert(kArenaBytesCrc >= FpduBytes(kUlpduBytesMax));

constexpr uint32_t kSlotMask = 0xFFFF;
constexpr uint32_t kGeneration = 0x10000;
static_assert(Initiator::kSlotsMax <= kSlotMask);

uint32_t RandomStag() {
  uint32_t stag = 0;
  // A failure leaves 0: the STag only tells our own answers from garbage.
  if (::getrandom(&stag, sizeof stag, GRND_NONBLOCK) != sizeof stag) stag = 0;
  return stag | 1;
}

// Lets receives without MSG_DONTWAIT block, for kNapNs at most (socket(7)).
void MayBlock(int socket) {
  const timeval nap{0, Initiator::kNapNs / 1000};
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &nap, sizeof nap) != 0) return;
  ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK);
}

}  // namespace

Result<std::unique_ptr<Initiator>> Initiator::Connect(const InitiatorOptions& options,
                                                      uint64_t deadline_ns) {
  if (options.slots == 0 || options.slots > kSlotsMax || options.ask.depth == 0 ||
      options.ask.depth > kMpaDepthMax || options.path.empty() == options.host.empty()) {
    return Error{Code::kArgument, 0, "connect"};
  }
  Result<Fd> socket = options.path.empty() ? DialTcp(options.host, options.port, deadline_ns)
                                           : DialUnix(options.path, deadline_ns);
  if (!socket.ok()) return socket.error();
  Result<MpaGrant> grant = InitiateMpa(socket.value().get(), options.ask, deadline_ns);
  if (!grant.ok()) return grant.error();
  return Adopt(std::move(socket).value(), grant.value(), options.slots);
}

std::unique_ptr<Initiator> Initiator::Adopt(Fd socket, const MpaGrant& grant, uint32_t slots) {
  return std::unique_ptr<Initiator>(new Initiator(std::move(socket), grant, slots, RandomStag()));
}

Initiator::Initiator(Fd socket, const MpaGrant& grant, uint32_t slots, uint32_t sink_stag)
    : socket_(std::move(socket)),
      slots_(slots),
      depth_(grant.depth),
      crc_(grant.crc),
      flags_(grant.flags),
      max_ulpdu_((grant.flags & kFlagAnyOrder) != 0 ? kUlpduBytesMax
                                                    : MaxUlpduOfSocket(socket_.get())),
      sink_stag_(sink_stag),
      ops_(std::make_unique<Op[]>(slots)),
      free_(std::make_unique<uint16_t[]>(slots)),
      free_count_(slots),
      waiting_(slots),
      handing_(slots),
      completions_(slots + 1),  // one for a WRITE that a Terminate names after it completed
      unfenced_(kUnfencedMax),
      queue_(grant.crc ? kArenaBytesCrc : kArenaBytes),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kBufferBytes)) {
  MayBlock(socket_.get());
  for (uint32_t slot = 0; slot < slots; ++slot) {
    ops_[slot].token = slot;
    free_[slot] = static_cast<uint16_t>(slots - 1 - slot);
  }
}

Code Initiator::Judge(const WorkRequest& request) {
  switch (request.opcode) {
    case Opcode::kRead:
    case Opcode::kWrite:
      if (request.local == nullptr && request.length_bytes != 0) return Code::kArgument;
      if (request.remote_offset + request.length_bytes < request.remote_offset) {
        return Code::kBounds;
      }
      return Code::kOk;
    case Opcode::kFetchAdd:
    case Opcode::kCompareSwap:
      return request.remote_offset % 8 == 0 ? Code::kOk : Code::kAlignment;
  }
  return Code::kArgument;
}

size_t Initiator::Post(std::span<const WorkRequest> requests) {
  size_t taken = 0;
  // A completion that was not polled still holds its slot, so that their ring cannot overflow.
  const size_t room =
      free_count_ > completions_.size() ? free_count_ - completions_.size() : 0;
  for (; taken < requests.size() && taken < room; ++taken) {
    Op& op = ops_[free_[--free_count_]];
    op.request = requests[taken];
    op.done_bytes = 0;
    op.state = State::kWaiting;
    const Code code = ended_ ? Code::kConnection : Judge(op.request);
    if (code != Code::kOk) {
      Complete(&op, code, -1, 0);
      continue;
    }
    waiting_.Push(static_cast<uint16_t>(op.token & kSlotMask));
  }
  Encode();
  return taken;
}

void Initiator::Encode() {
  while (!waiting_.empty()) {
    Op* const op = &ops_[waiting_.Front()];
    if (op->request.opcode == Opcode::kWrite) {
      if (!EncodeWrite(op)) return;
    } else {
      if (outstanding_ >= depth_ || !queue_.HasRoom(kAtomicRequestFpdu, 1)) return;
      op->begins_at = queue_.appended();
      op->msn = ++msn_;
      if (op->request.opcode == Opcode::kRead) {
        EncodeRead(op);
      } else {
        EncodeAtomic(op);
      }
      ++outstanding_;
    }
    op->writes = writes_;
    op->ends_at = queue_.appended();
    op->state = State::kSent;
    waiting_.Pop();
  }
}

void Initiator::EncodeRead(Op* op) {
  const WorkRequest& request = op->request;
  if (request.length_bytes > kDirectBytes) ++large_;
  std::byte* const fpdu = queue_.Append(kReadRequestFpdu);
  EncodeReadRequest(fpdu, op->msn,
                    {sink_stag_, uint64_t{op->token} << 32, request.length_bytes, request.stag,
                     request.remote_offset});
  constexpr uint32_t kSummed = kReadRequestFpdu - kCrcBytes;
  StoreCrc(fpdu + kSummed, crc_ ? Crc32c(0, {fpdu, kSummed}) : 0);
}

void Initiator::EncodeAtomic(Op* op) {
  const WorkRequest& request = op->request;
  AtomicRequest atomic;
  atomic.request_id = op->token;
  atomic.stag = request.stag;
  atomic.offset = request.remote_offset;
  atomic.operand = request.operand;
  if (request.opcode == Opcode::kCompareSwap) {
    atomic.operation = kAtomicCompareSwap;
    atomic.mask = atomic.compare_mask = ~uint64_t{0};
    atomic.compare = request.compare;
  }
  std::byte* const fpdu = queue_.Append(kAtomicRequestFpdu);
  EncodeAtomicRequest(fpdu, op->msn, atomic);
  SealFpdu(fpdu, crc_);
}

// Encodes segments while there is room; true when the whole WRITE has been encoded.
bool Initiator::EncodeWrite(Op* op) {
  const WorkRequest& request = op->request;
  do {
    const uint64_t offset = request.remote_offset + op->done_bytes;
    const uint32_t left = request.length_bytes - op->done_bytes;
    const uint32_t bytes = TaggedSegmentBytes(offset, left, max_ulpdu_, kPageBytes);
    const bool copied = crc_ || bytes <= kCopyBytes;
    const uint32_t trailer = FpduPadBytes(kDdpTaggedBytes + bytes) + kCrcBytes;
    if (!queue_.HasRoom(kTaggedHeaderBytes + (copied ? bytes : 0) + trailer, 3)) return false;
    if (op->state == State::kWaiting) {
      op->state = State::kSending;
      op->begins_at = queue_.appended();
    }
    const std::byte* const from = request.local + op->done_bytes;
    std::byte* const header = queue_.Append(kTaggedHeaderBytes + (copied ? bytes : 0));
    EncodeTagged(header, RdmapOpcode::kWrite, bytes == left, bytes, request.stag, offset);
    uint32_t crc = 0;
    if (crc_) {
      crc = CopyAndCrc32c(header + kTaggedHeaderBytes, from, bytes,
                          Crc32c(0, {header, kTaggedHeaderBytes}));
    } else if (copied) {
      if (bytes != 0) std::memcpy(header + kTaggedHeaderBytes, from, bytes);
    } else {
      queue_.AppendBorrowed({from, bytes});
    }
    std::byte* const tail = queue_.Append(trailer);
    std::memset(tail, 0, trailer);
    if (crc_) StoreCrc(tail + trailer - kCrcBytes, Crc32c(crc, {tail, trailer - kCrcBytes}));
    op->done_bytes += bytes;
  } while (op->done_bytes != request.length_bytes);
  ++writes_;
  handing_.Push(static_cast<uint16_t>(op->token & kSlotMask));
  return true;
}

void Initiator::Flush() {
  if (ended_ || send_failed_) return;
  for (;;) {
    Encode();
    if (queue_.empty()) return;
    const Result<bool> sent = queue_.Send(socket_.get());
    if (!sent.ok()) {
      // What the peer sent before it closed, a Terminate perhaps, is still to be read: Receive
      // ends the stream.
      send_failed_ = true;
      end_error_ = sent.error();
      return;
    }
    HandOver();
    if (!sent.value()) return;
  }
}

// Completes the WRITEs whose last byte the socket has taken.
void Initiator::HandOver() {
  while (!handing_.empty()) {
    Op* const op = &ops_[handing_.Front()];
    if (op->ends_at > queue_.sent()) return;
    handing_.Pop();
    if (unfenced_.full()) unfenced_.Pop();
    unfenced_.Push({op->request.id, op->writes, op->request.remote_offset, op->request.stag,
                    op->request.length_bytes});
    Complete(op, Code::kOk, -1, 0);
  }
}

void Initiator::Complete(Op* op, Code code, int32_t terminate, uint64_t old_value) {
  completions_.Push({op->request.id, code, terminate, old_value});
  op->state = State::kFree;
  op->token += kGeneration;
  free_[free_count_++] = static_cast<uint16_t>(op->token & kSlotMask);
}

// A READ or an atomic was answered: everything written before it has been placed.
void Initiator::Answer(Op* op, uint64_t old_value) {
  --outstanding_;
  if (op->request.opcode == Opcode::kRead && op->request.length_bytes > kDirectBytes) --large_;
  if (op->writes > fenced_) fenced_ = op->writes;
  Complete(op, Code::kOk, -1, old_value);
}

Initiator::Op* Initiator::OpOfToken(uint32_t token) {
  const uint32_t slot = token & kSlotMask;
  if (slot >= slots_) return nullptr;
  Op* const op = &ops_[slot];
  return op->state == State::kSent && op->token == token ? op : nullptr;
}

size_t Initiator::Progress() {
  if (!ended_) {
    if (!queue_.empty()) Flush();
    Receive(MSG_DONTWAIT);
    if (!waiting_.empty()) Flush();
  }
  return completions_.size();
}

size_t Initiator::Poll(std::span<Completion> out) {
  size_t taken = 0;
  for (; taken < out.size() && !completions_.empty(); ++taken) {
    out[taken] = completions_.Front();
    completions_.Pop();
  }
  return taken;
}

Status Initiator::Wait(uint64_t spin_ns, uint64_t deadline_ns) {
  if (completions() > 0) return {};
  if (in_flight() == 0) {
    // A WRITE that had completed may still end a second time.
    if (Progress() > 0) return {};
    return Error{Code::kClosed, 0, "wait"};
  }
  const uint64_t budget = spin_.Budget(spin_ns);
  if (budget == 0) return Sleep(deadline_ns);
  const uint64_t spin_until = std::min(NowNs() + budget, deadline_ns);
  do {
    for (int look = 0; look < kLooksPerClock; ++look) {
      if (Progress() > 0) {
        spin_.Learn(true);
        return {};
      }
      SpinPause();
    }
  } while (NowNs() < spin_until);
  spin_.Learn(false);
  return Sleep(deadline_ns);
}

// A receive that may block wakes as soon as poll(2) would and has the bytes by then; SO_RCVTIMEO,
// which is not set anew each time, cuts it off. Where it cannot block (an event loop has made the
// socket non-blocking), where the deadline is near or bytes wait for room, poll(2) waits.
Status Initiator::Sleep(uint64_t deadline_ns) {
  if (!queue_.empty()) Flush();
  if (!ended_ && !wants_write() && NowNs() + kNapNs < deadline_ns) {
    Receive(0);
    if (!waiting_.empty()) Flush();
  }
  while (completions() == 0) {
    const short events = static_cast<short>(POLLIN | (wants_write() ? POLLOUT : 0));
    const Status ready = AwaitEvents(socket_.get(), events, deadline_ns);
    if (Progress() > 0) break;
    if (!ready.ok()) return ready;
  }
  return {};
}

size_t Initiator::Spin(uint64_t spin_ns, uint64_t gap_ns) {
  Progress();
  if (in_flight() == 0 || spin_ns == 0 || !MayPoll()) return completions_.size();
  const uint64_t start = NowNs();
  const uint64_t latest = start + spin_ns + kBusyNsMax;
  uint64_t until = start + spin_ns;
  uint64_t received = received_bytes_;
  for (;;) {
    for (int look = 0; look < kLooksPerClock; ++look) {
      Progress();
      if (in_flight() == 0) return completions_.size();
      SpinPause();
    }
    const uint64_t now = NowNs();
    if (received != received_bytes_) {
      received = received_bytes_;
      until = std::min(now + (completions_.empty() ? spin_ns : gap_ns), latest);
    }
    if (now >= until) return completions_.size();
  }
}

}  // namespace farpage
