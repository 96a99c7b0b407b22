// How a Responder's stream begins and ends: the handshake, the Terminate, and the sending between.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "fabric/responder.h"
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
  // Our own initiator takes any segment; only an adapter needs those that fit a TCP segment.
  max_ulpdu_ = any_order_ ? kUlpduBytesMax : MaxUlpduOfSocket(socket_.get());
  const uint32_t length = EncodeMpaFrame(MpaKind::kReply, answer.reply, send_.Tail());
  send_.Commit(length);
  state_ = answer.accepted && status == Code::kOk ? State::kStreaming : State::kDraining;
}

// Sends what is queued; false when the connection is broken.
bool Responder::Flush() {
  socket_full_ = false;
  while (!send_.empty()) {
    std::array<iovec, 128> parts;
    uint32_t count = 0;
    while (count < send_.count() && count < parts.size()) {
      SendPiece& piece = send_.piece(count);
      const bool known = !piece.of_region || piece.turn == context_->turn;
      const uint32_t bytes = known ? piece.length_bytes : Reach(piece);
      if (bytes == 0) break;
      parts[count] = {const_cast<std::byte*>(piece.address), bytes};
      count++;
      if (bytes != piece.length_bytes) break;  // what is behind it waits with its rest
    }
    if (state_ == State::kClosed) return false;
    if (count == 0) return true;  // waits for a page
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    // One piece of our own, as most answers are: the shorter system call.
    const bool plain = count == 1 && !send_.piece(0).of_region;
    const ssize_t sent =
        plain ? ::send(socket_.get(), parts[0].iov_base, parts[0].iov_len,
                       MSG_DONTWAIT | MSG_NOSIGNAL)
              : SendRegionBytes(socket_.get(), message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EFAULT) LosePieces(count);
      socket_full_ = errno == EAGAIN || errno == EWOULDBLOCK;
      return socket_full_;
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

// Looks a region piece up again in this turn; how many of its bytes can be sent now.
uint32_t Responder::Reach(SendPiece& piece) {
  const MemoryRegion* target = domain_->Find(piece.stag);
  if (target == nullptr || target->removed()) {
    Break();
    return 0;
  }
  if (target->region == nullptr) {
    ReachRegion(*target);
    return 0;
  }
  const uint64_t offset = target->region_offset + piece.region_offset;
  const PageRun run = PagesOf(offset, piece.length_bytes);
  const FaultOutcome outcome =
      context_->pager->Fault(target->region, run, FaultKind::kRead, context_->waiter, token_,
                             nullptr, context_->fills);
  piece.address = target->region->memory->address() + offset;
  if (outcome.ready_pages == 0) {
    // It may have waited for a page further on, whose turn has not come after all.
    if (reached_in_ != target->region || reached_page_ != run.first) {
      Release(reached_in_, reached_page_);
    }
    reached_in_ = target->region;
    reached_page_ = run.first;
    // What was filled for requests behind cannot be used before this has gone: nobody holds it,
    // or two connections with a page each would wait for each other's frame.
    for (uint32_t n = 0; n < count_; n++) Yield(pending(n));
  } else {
    Release(reached_in_, reached_page_);
  }
  if (outcome.next == FaultOutcome::Next::kReady) {
    piece.turn = context_->turn;
    return piece.length_bytes;
  }
  if (outcome.ready_pages != 0) {
    return static_cast<uint32_t>(((run.first + outcome.ready_pages) << kPageShift) - offset);
  }
  if (outcome.next == FaultOutcome::Next::kFailed) Break();
  if (outcome.next == FaultOutcome::Next::kAgain) again_ = true;
  return 0;
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
