#include "fabric/responder.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "memory/region_copy.h"

namespace farpage {

Responder::Responder(Fd socket, uint64_t token, Admission* admission,
                     std::shared_ptr<const ExportPort> export_port, ResponderContext* context)
    : socket_(std::move(socket)),
      token_(token),
      admission_(admission),
      export_port_(std::move(export_port)),
      context_(context),
      buffer_(new std::byte[kReceiveBufferBytes]),
      pending_(new Pending[kMpaDepthMax]) {}

Responder::~Responder() {
  // Pages that were, or will be, filled for this connection are nobody's now.
  for (uint32_t n = 0; n < count_; n++) Release(pending(n).waits_in, pending(n).waits_for);
  Release(stalled_in_, stalled_page_);
  Release(reached_in_, reached_page_);
  if (domain_ != nullptr) domain_->Leave();
}

void Responder::Break() { state_ = State::kClosed; }

Responder::Outcome Responder::Run() {
  turn_bytes_ = 0;
  turn_reads_ = 0;
  if (!std::exchange(put_off_, false)) put_offs_ = 0;
  again_ = false;
  blocked_ = false;
  if (state_ == State::kStreaming && domain_->closed()) Break();
  if (state_ == State::kStreaming) {
    // What was received before goes on first: a fill may have freed the way.
    if (stalled_ || received_ != parsed_ || write_.left != 0) Parse();
  }
  ServeAndFlush();
  while (state_ != State::kClosed && readable_ && !stalled_ && turn_bytes_ < kTurnBytesMax) {
    if (!Receive()) break;
    if (state_ == State::kHandshake) Handshake();
    if (state_ == State::kStreaming) Parse();
    if (state_ == State::kDraining) parsed_ = received_ = 0;
    ServeAndFlush();
  }
  if (state_ == State::kDraining && !Flush()) Break();
  if (state_ == State::kDraining && send_.empty()) {
    // Everything said: let the Terminate arrive, and take the rest until the peer closes too.
    ::shutdown(socket_.get(), SHUT_WR);
  }
  if (end_of_stream_) Break();
  if (state_ == State::kClosed) return Outcome::kClosed;
  if (state_ == State::kDraining) ForgetRequests();
  const bool more_to_read =
      readable_ && !stalled_ &&
      (turn_bytes_ >= kTurnBytesMax || state_ == State::kDraining);
  return again_ || more_to_read ? Outcome::kAgain : Outcome::kIdle;
}

// Answers what can be answered, and sends it. What has not been sent goes first: its pages may be
// needed again, and a small budget must not give their frames to the requests behind.
void Responder::ServeAndFlush() {
  if (state_ != State::kClosed && !Flush()) Break();
  if (!send_.empty()) {
    // A peer that does not take its answers keeps no pages from others.
    for (uint32_t n = 0; n < count_; n++) Yield(pending(n));
    return;
  }
  if (state_ != State::kStreaming || count_ == 0) return;
  Serve();
  const bool whole = Flush();
  SettleLent();
  if (!whole) Break();
  // What found no room goes on at once when all was sent, else when the socket takes more.
  if (blocked_ && send_.empty()) again_ = true;
}

// One receive; false when there was nothing or no room.
bool Responder::Receive() {
  if (write_.left != 0 && parsed_ == received_ && collected_ == nullptr) return ReceiveDirect();
  if (parsed_ == received_) {
    parsed_ = received_ = 0;
  } else if (kReceiveBufferBytes - received_ < kReceiveBufferBytes / 2 && parsed_ != 0) {
    std::memmove(buffer_.get(), at(), available());
    received_ = available();
    parsed_ = 0;
  }
  uint32_t room = kReceiveBufferBytes - received_;
  if (state_ == State::kHandshake) {
    // Not a byte beyond the frame: what follows belongs to the stream's first FPDU.
    room = std::min<uint32_t>(room, static_cast<uint32_t>(mpa_.missing()));
  } else if (bulk_ && !crc_ && collected_ == nullptr) {
    room = std::min(room, kBulkReceiveBytes);
  }
  if (room == 0) return false;
  uint32_t got = 0;
  if (!ReceiveInto(buffer_.get() + received_, room, &got)) return false;
  received_ += got;
  // What moves no region bytes (Sends, empty messages, all that follows a Terminate) takes its
  // share of the turn too; else a peer that never stops would keep the loop to itself.
  turn_bytes_ += got;
  return true;
}

bool Responder::ReceiveInto(std::byte* to, uint32_t bytes, uint32_t* got) {
  const ssize_t count = ::recv(socket_.get(), to, bytes, MSG_DONTWAIT);
  if (count > 0) {
    *got = static_cast<uint32_t>(count);
    // A short read has emptied the socket; epoll (edge-triggered) tells of more. It does not tell
    // again of an end that it told of together with the last bytes.
    if (*got < bytes && !hung_up_) readable_ = false;
    return true;
  }
  if (count < 0 && errno == EINTR) return true;
  readable_ = false;
  if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) end_of_stream_ = true;
  return false;
}

// Long WRITE payload: from the socket into the region, with the trailer and the next header into
// the buffer behind it, in one call.
bool Responder::ReceiveDirect() {
  const MemoryRegion* target = domain_->Find(write_.stag);
  if (target == nullptr || target->removed()) {
    FailWrite(kTermWriteStag, target == nullptr ? Code::kStag : Code::kRegionRemoved);
    return false;
  }
  const auto most = static_cast<uint32_t>(
      std::min<uint64_t>(write_.left, std::max<uint64_t>(kTurnBytesMax - turn_bytes_, 1)));
  const uint32_t bytes = Writable(*target, write_.offset, most);
  if (bytes == 0) return false;
  parsed_ = received_ = 0;
  std::byte* address =
      target->region->memory->address() + target->region_offset + write_.offset;
  std::array<iovec, 2> parts{iovec{address, bytes}, iovec{buffer_.get(), kBulkReceiveBytes}};
  msghdr message{};
  message.msg_iov = parts.data();
  // Behind a part of the payload comes the rest of it, not a header.
  message.msg_iovlen = bytes == write_.left ? 2 : 1;
  const ssize_t count = ReceiveRegionBytes(socket_.get(), message, MSG_DONTWAIT);
  if (count <= 0) {
    if (count < 0 && errno == EINTR) return true;
    if (count < 0 && errno == EFAULT) {
      FailWrite(kTermLocal, Code::kPageLost);
      return false;
    }
    readable_ = false;
    if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) end_of_stream_ = true;
    return false;
  }
  const auto got = static_cast<uint32_t>(count);
  const uint32_t placed = std::min(got, bytes);
  write_.left -= placed;
  write_.offset += placed;
  bytes_written_ += placed;
  turn_bytes_ += placed;
  received_ = got - placed;
  if (write_.left == 0) FinishSegment();
  return true;
}

void Responder::Parse() {
  while (state_ == State::kStreaming && ParseOne()) {
  }
}

// One FPDU, or one step of one; false when more bytes or a page are needed.
bool Responder::ParseOne() {
  if (write_.left != 0) {
    if (available() == 0 && !stalled_) return false;
    uint32_t placed = 0;
    const uint32_t bytes = std::min(write_.left, available());
    const bool all = Place(at(), bytes, &placed);
    parsed_ += placed;
    if (!all) return false;
    if (write_.left == 0) FinishSegment();
    return true;
  }
  if (skip_ != 0) {
    const uint32_t skipped = std::min(skip_, available());
    parsed_ += skipped;
    skip_ -= skipped;
    if (skip_ != 0) return false;
  }
  if (available() < kTaggedHeaderBytes) return false;
  FpduHeader header;
  if (available() >= kReadRequestFpdu && !crc_ && count_ < depth_) {
    Pending& next = pending(count_);
    if (TryDecodeReadRequest(at(), read_msn_, &next.read)) {
      next.msn = read_msn_++;
      next.done_bytes = 0;
      next.is_atomic = next.faulted = next.waiting = next.prefetched = false;
      next.failed = Code::kOk;
      count_++;
      parsed_ += kReadRequestFpdu;
      bulk_ = false;
      return true;
    }
  }
  if (!TryDecodeTagged(at(), RdmapOpcode::kWrite, &header)) {
    const DecodeOutcome outcome = DecodeFpduHeader({at(), available()}, &header);
    if (outcome.state == DecodeState::kNeedMore) return false;
    if (outcome.state == DecodeState::kViolation) {
      Terminate(outcome.violation, Code::kProtocol, {at(), available()});
      return false;
    }
  }
  const bool whole = available() >= header.fpdu_bytes();
  if (crc_ && (!whole || !SumIsRight(header))) return false;
  if (header.tagged && header.opcode == RdmapOpcode::kWrite) {
    // Short messages are received whole, so that they are placed in one go.
    if (!whole && header.payload_bytes <= kUntornBytesMax) return false;
    return BeginWrite(header, at());
  }
  if (!whole) return false;
  return ParseUntagged(header);
}

bool Responder::SumIsRight(const FpduHeader& header) {
  const uint32_t summed = header.fpdu_bytes() - kCrcBytes;
  if (Crc32c(0, {at(), summed}) == LoadCrc(at() + summed)) return true;
  Terminate(kTermMpaCrc, Code::kProtocol, {});
  return false;
}

bool Responder::ParseUntagged(const FpduHeader& header) {
  const std::span<const std::byte> fpdu{at(), header.fpdu_bytes()};
  switch (header.opcode) {
    case RdmapOpcode::kReadRequest:
    case RdmapOpcode::kAtomicRequest: {
      if (header.msn != read_msn_) {
        Terminate(kTermMsn, Code::kProtocol, fpdu);
        return false;
      }
      if (count_ >= depth_) {
        Terminate(kTermNoBuffer, Code::kProtocol, fpdu);
        return false;
      }
      Pending& next = pending(count_);
      next = Pending{};
      next.msn = read_msn_++;
      next.is_atomic = header.opcode == RdmapOpcode::kAtomicRequest;
      if (next.is_atomic) {
        next.atomic = DecodeAtomicRequest(at() + kUntaggedHeaderBytes);
      } else {
        next.read = DecodeReadRequest(at() + kUntaggedHeaderBytes);
      }
      count_++;
      break;
    }
    case RdmapOpcode::kSend:
    case RdmapOpcode::kSendSolicited:
      // Accepted and forgotten: nobody here receives messages. Segments of one Send share an MSN.
      if (header.msn != send_msn_) {
        Terminate(kTermMsn, Code::kProtocol, fpdu);
        return false;
      }
      if (header.last) send_msn_++;
      break;
    case RdmapOpcode::kTerminate:
      Break();
      return false;
    default:
      Terminate(kTermRdmapOpcode, Code::kProtocol, fpdu);
      return false;
  }
  parsed_ += header.fpdu_bytes();
  bulk_ = false;
  return true;
}

}  // namespace farpage
