#include "fabric/responder.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "memory/region_copy.h"

namespace farpage {
namespace {

// Bits of librpma's memory-region usage: what its descriptor says a peer may do.
constexpr uint8_t kRpmaReadSource = 1;
constexpr uint8_t kRpmaReadTarget = 2;
constexpr uint8_t kRpmaWriteSource = 4;
constexpr uint8_t kRpmaWriteTarget = 8;
constexpr uint8_t kRpmaFlushVisibility = 16;
constexpr size_t kRpmaDescriptorBytes = 25;

// u16 data offset, u8 descriptor length, u8 peer configuration length; then address, size, rkey
// and usage, little-endian (iwarp.md section 3).
std::array<std::byte, kRpmaDescriptorBytes> DescribeExport(const ExportPort& port) {
  std::array<uint8_t, kRpmaDescriptorBytes> bytes{};
  const uint64_t address = 0;
  uint8_t usage = kRpmaReadSource | kRpmaReadTarget;
  if (port.writable) usage |= kRpmaWriteSource | kRpmaWriteTarget | kRpmaFlushVisibility;
  bytes[2] = 21;
  std::memcpy(&bytes[4], &address, 8);
  std::memcpy(&bytes[12], &port.length_bytes, 8);
  std::memcpy(&bytes[20], &port.stag, 4);
  bytes[24] = usage;
  std::array<std::byte, kRpmaDescriptorBytes> out;
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

}  // namespace

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
  for (uint32_t n = 0; n < count_; n++) Release(pending(n));
  if (stalled_in_ != nullptr) stalled_in_->table->ClearFlags(stalled_page_, kHeld);
  if (domain_ != nullptr) domain_->Leave();
}

void Responder::Break() { state_ = State::kClosed; }

Responder::Outcome Responder::Run() {
  turn_bytes_ = 0;
  again_ = false;
  blocked_ = false;
  if (state_ == State::kStreaming && domain_->closed()) Break();
  if (state_ == State::kStreaming) {
    // What was received before goes on first: a fill may have freed the way.
    if (stalled_ || received_ != parsed_ || write_.left != 0) Parse();
    if (state_ == State::kStreaming && count_ != 0) Serve();
  }
  if (state_ != State::kClosed && !Flush()) Break();
  while (state_ != State::kClosed && readable_ && !stalled_ && turn_bytes_ < kTurnBytesMax) {
    if (!Receive()) break;
    if (state_ == State::kHandshake) Handshake();
    if (state_ == State::kStreaming) Parse();
    if (state_ == State::kStreaming && count_ != 0) Serve();
    if (state_ == State::kDraining) parsed_ = received_ = 0;
    if (state_ != State::kClosed && !Flush()) Break();
  }
  if (state_ == State::kDraining && send_.empty()) {
    // Everything said: let the Terminate arrive, and take the rest until the peer closes too.
    ::shutdown(socket_.get(), SHUT_WR);
  }
  if (end_of_stream_) Break();
  if (state_ == State::kClosed) return Outcome::kClosed;
  // What found no room goes on at once when all was sent, else when the socket takes more.
  if (blocked_ && send_.empty()) again_ = true;
  const bool more_to_read = readable_ && !stalled_ && turn_bytes_ >= kTurnBytesMax;
  return again_ || more_to_read ? Outcome::kAgain : Outcome::kIdle;
}

// One receive; false when there was nothing or no room.
bool Responder::Receive() {
  if (write_.left != 0 && parsed_ == received_) return ReceiveDirect();
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
  } else if (bulk_ && !crc_) {
    room = std::min(room, kBulkReceiveBytes);
  }
  if (room == 0) return false;
  uint32_t got = 0;
  if (!ReceiveInto(buffer_.get() + received_, room, &got)) return false;
  received_ += got;
  return true;
}

bool Responder::ReceiveInto(std::byte* to, uint32_t bytes, uint32_t* got) {
  const ssize_t count = ::recv(socket_.get(), to, bytes, MSG_DONTWAIT);
  if (count > 0) {
    *got = static_cast<uint32_t>(count);
    // A short read has emptied the socket; epoll (edge-triggered) tells of more.
    if (*got < bytes) readable_ = false;
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
  if (target == nullptr || target->region == nullptr) {
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

void Responder::Handshake() {
  parsed_ += static_cast<uint32_t>(mpa_.Feed({at(), available()}));
  if (mpa_.state() == MpaParser::State::kNeedMore) return;
  if (mpa_.state() == MpaParser::State::kViolation) {
    Break();
    return;
  }
  Accept(mpa_.frame(), AnswerMpaRequest(mpa_.frame(), MpaPolicy{}));
}

void Responder::Accept(const MpaFrame& request, MpaAnswer answer) {
  Code status = Code::kOk;
  if (export_port_ != nullptr) {
    Status entered = export_port_->domain->Enter();
    if (entered.ok()) {
      domain_ = export_port_->domain;
    } else {
      status = entered.error().code;
    }
    answer.reply.SetPrivate(DescribeExport(*export_port_));
  } else {
    RequestPrivate ours;
    if (!DecodeRequestPrivate(request.private_span(), &ours)) {
      status = Code::kTicket;
    } else if (auto admitted = admission_->Admit(ours.ticket); !admitted.ok()) {
      status = admitted.error().code;
    } else {
      domain_ = std::move(admitted).value();
      any_order_ = (ours.flags & kFlagAnyOrder) != 0;
      tells_reason_ = (ours.flags & kFlagReason) != 0;
    }
    const auto granted = static_cast<uint8_t>((any_order_ ? kFlagAnyOrder : 0) |
                                              (tells_reason_ ? kFlagReason : 0));
    answer.reply.SetPrivate(
        EncodeReplyPrivate({granted, static_cast<uint8_t>(status), answer.depth}));
  }
  if (status != Code::kOk) answer.reply.rejected = true;
  crc_ = answer.crc;
  depth_ = std::max<uint32_t>(answer.depth, 1);
  max_ulpdu_ = MaxUlpduOfSocket(socket_.get());
  const uint32_t length = EncodeMpaFrame(MpaKind::kReply, answer.reply, send_.Tail());
  send_.Commit(length);
  state_ = answer.accepted && status == Code::kOk ? State::kStreaming : State::kDraining;
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
      next.is_atomic = next.faulted = next.waiting = next.prefetched = next.answered = false;
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

// Sends what is queued; false when the connection is broken.
bool Responder::Flush() {
  while (!send_.empty()) {
    std::array<iovec, 128> parts;
    uint32_t count = 0;
    while (count < send_.count() && count < parts.size()) {
      SendPiece& piece = send_.piece(count);
      if (piece.of_region && piece.turn != context_->turn && !Reach(piece)) break;
      parts[count] = {const_cast<std::byte*>(piece.address), piece.length_bytes};
      count++;
    }
    if (state_ == State::kClosed) return false;
    if (count == 0) return true;  // waits for a page
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t sent =
        SendRegionBytes(socket_.get(), message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EFAULT) LosePieces(count);
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
    send_.Consume(static_cast<uint64_t>(sent));
  }
  return true;
}

// A page went away behind its header. Never padded: the connection is reset, and the repeated
// request meets the loss by itself.
void Responder::LosePieces(uint32_t count) {
  for (uint32_t n = 0; n < count; n++) {
    const SendPiece& piece = send_.piece(n);
    const MemoryRegion* target = piece.of_region ? domain_->Find(piece.stag) : nullptr;
    if (target == nullptr || target->region == nullptr) continue;
    context_->pager->Lose(target->region, PagesOf(target->region_offset + piece.region_offset,
                                                  piece.length_bytes));
  }
}

// Looks a region piece's address up again in this turn; false: not now (or broken).
bool Responder::Reach(SendPiece& piece) {
  const MemoryRegion* target = domain_->Find(piece.stag);
  if (target == nullptr || target->region == nullptr) {
    Break();
    return false;
  }
  const uint64_t offset = target->region_offset + piece.region_offset;
  const PageRun run = PagesOf(offset, piece.length_bytes);
  const FaultOutcome outcome = context_->pager->Fault(
      target->region, run, FaultKind::kRead, context_->waiter, token_, nullptr);
  if (outcome.next == FaultOutcome::Next::kFailed) Break();
  if (outcome.next == FaultOutcome::Next::kAgain) again_ = true;
  if (outcome.next != FaultOutcome::Next::kReady) return false;
  piece.address = target->region->memory->address() + offset;
  piece.turn = context_->turn;
  return true;
}

void Responder::Terminate(TerminateCode code, Code reason,
                          std::span<const std::byte> offending) {
  if (state_ != State::kStreaming) return;
  state_ = State::kDraining;
  terminated_ = true;
  if (!send_.HasRoom(kTerminateFpduMax + kUntaggedHeaderBytes + kReasonBytes + 8, 2)) {
    Break();
    return;
  }
  if (tells_reason_) {
    std::byte* to = send_.Tail();
    EncodeSend(to, 1, kReasonBytes);
    const auto payload = EncodeReason(static_cast<uint8_t>(reason));
    std::memcpy(to + kUntaggedHeaderBytes, payload.data(), payload.size());
    send_.Commit(SealFpdu(to, crc_));
  }
  std::byte* to = send_.Tail();
  EncodeTerminate(to, code, offending);
  send_.Commit(SealFpdu(to, crc_));
  stalled_ = false;
  write_.left = 0;
  readable_ = true;
}

}  // namespace farpage
