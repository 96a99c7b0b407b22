// The receiving half of the initiator: from the socket into the caller's memory.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/crc32c.h"
#include "fabric/initiator.h"

namespace farpage {

// Receives until the socket has no more, at most kReceivesMax times; the first time with `flags`.
void Initiator::Receive(int flags) {
  for (int round = 0; round < kReceivesMax; ++round, flags = MSG_DONTWAIT) {
    size_t asked = 0;
    const ssize_t got = ReceiveOnce(&asked, flags);
    if (got > 0) {
      received_bytes_ += static_cast<size_t>(got);
      ParseBuffered();
      // A short answer means that the socket is empty: spares the call that would say so.
      if (ended_ || static_cast<size_t>(got) < asked) break;
    } else if (got == 0) {
      return End({Code::kConnection, 0, "closed by the peer"}, -1);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      return End({Code::kConnection, errno, "recv"}, -1);
    }
  }
  // Nothing is left that could say more than the failed send did.
  if (send_failed_ && !ended_) End(Error(end_error_), -1);
}

ssize_t Initiator::ReceiveOnce(size_t* asked, int flags) {
  const bool more_foreseen = !crc_ && !segment_.last && steady_bytes_ > kDirectBytes;
  if (segment_.left > (more_foreseen ? 0 : kDirectBytes)) return ReceiveDirect(asked, flags);
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (end_ > kReceiveBytes / 2) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  *asked = kReceiveBytes - end_;
  if (large_ > 0) *asked = std::min(*asked, segment_.left + kPeekBytes);
  const ssize_t got = ::recv(socket_.get(), buffer_.get() + end_, *asked, flags);
  if (got > 0) end_ += static_cast<size_t>(got);
  return got;
}

void Initiator::ParseBuffered() {
  for (;;) {
    const Parse outcome = segment_.op != nullptr ? ParseSegment() : ParseHeader();
    if (outcome != Parse::kAgain) return;
  }
}

// One header is at begin_, or a part of it.
Initiator::Parse Initiator::ParseHeader() {
  const size_t have = end_ - begin_;
  const std::byte* const fpdu = buffer_.get() + begin_;
  FpduHeader header;
  if (have >= kTaggedHeaderBytes && TryDecodeTagged(fpdu, RdmapOpcode::kReadResponse, &header)) {
    return BeginSegment(header);
  }
  const DecodeOutcome outcome = DecodeFpduHeader({fpdu, have}, &header);
  if (outcome.state == DecodeState::kNeedMore) return Parse::kNeedMore;
  if (outcome.state == DecodeState::kViolation) {
    return Violate(outcome.violation, "a header breaks the protocol");
  }
  if (header.tagged) return Violate(kTermWriteStag, "a WRITE to an initiator");
  if (header.payload_bytes > kUntaggedBytesMax) {
    return Violate(kTermTooLong, "an untagged message is too long");
  }
  if (have < header.fpdu_bytes()) return Parse::kNeedMore;
  if (crc_ && !CrcHolds(fpdu, header)) return Violate(kTermMpaCrc, "CRC");
  const Parse parsed = ParseUntagged(header);
  begin_ += header.fpdu_bytes();
  return parsed;
}

bool Initiator::CrcHolds(const std::byte* fpdu, const FpduHeader& header) const {
  const uint32_t summed = header.fpdu_bytes() - kCrcBytes;
  return Crc32c(0, {fpdu, summed}) == LoadCrc(fpdu + summed);
}

// A Read Response must continue a READ of ours exactly where its last segment ended and say "last"
// exactly at its end: this is all that stands between a lying peer and the caller's memory.
Initiator::Parse Initiator::BeginSegment(const FpduHeader& header) {
  Op* const op = OpOfToken(static_cast<uint32_t>(header.tagged_offset >> 32));
  if (header.stag != sink_stag_ || op == nullptr || op->request.opcode != Opcode::kRead) {
    return Violate(kTermWriteStag, "an answer to no READ");
  }
  const uint32_t left = op->request.length_bytes - op->done_bytes;
  if (static_cast<uint32_t>(header.tagged_offset) != op->done_bytes ||
      header.payload_bytes > left || header.last != (header.payload_bytes == left) ||
      (header.payload_bytes == 0 && left != 0)) {
    return Violate(kTermWriteBounds, "an answer does not fit its READ");
  }
  segment_.op = op;
  segment_.to = op->request.local + op->done_bytes;
  segment_.left = segment_.payload = header.payload_bytes;
  segment_.trailer = header.trailer_bytes;
  segment_.last = header.last;
  if (crc_) segment_.crc = Crc32c(0, {buffer_.get() + begin_, kTaggedHeaderBytes});
  begin_ += kTaggedHeaderBytes;
  return Parse::kAgain;
}

Initiator::Parse Initiator::ParseSegment() {
  if (segment_.left != 0) {
    const auto bytes =
        static_cast<uint32_t>(std::min<size_t>(segment_.left, end_ - begin_));
    const std::byte* const from = buffer_.get() + begin_;
    if (crc_) {
      segment_.crc = CopyAndCrc32c(segment_.to, from, bytes, segment_.crc);
    } else {
      std::memcpy(segment_.to, from, bytes);
    }
    segment_.to += bytes;
    segment_.left -= bytes;
    begin_ += bytes;
    if (segment_.left != 0) return Parse::kNeedMore;
  }
  if (end_ - begin_ < segment_.trailer) return Parse::kNeedMore;
  if (crc_) {
    const std::byte* const pad = buffer_.get() + begin_;
    const uint32_t pad_bytes = segment_.trailer - kCrcBytes;
    if (Crc32c(segment_.crc, {pad, pad_bytes}) != LoadCrc(pad + pad_bytes)) {
      return Violate(kTermMpaCrc, "CRC");
    }
  }
  begin_ += segment_.trailer;
  Op* const op = segment_.op;
  op->done_bytes += segment_.payload;
  segment_.op = nullptr;
  if (!segment_.last) {
    steady_bytes_ = segment_.payload == previous_bytes_ ? segment_.payload : 0;
    previous_bytes_ = segment_.payload;
  }
  if (segment_.last) Answer(op, 0);
  return Parse::kAgain;
}

// The whole FPDU is at begin_.
Initiator::Parse Initiator::ParseUntagged(const FpduHeader& header) {
  const std::span<const std::byte> payload{buffer_.get() + begin_ + header.header_bytes,
                                           header.payload_bytes};
  switch (header.opcode) {
    case RdmapOpcode::kAtomicResponse: {
      const AtomicResponse response = DecodeAtomicResponse(payload.data());
      Op* const op = OpOfToken(response.request_id);
      if (op == nullptr || op->request.opcode == Opcode::kRead ||
          op->request.opcode == Opcode::kWrite || header.msn != answer_msn_ + 1) {
        return Violate(kTermMsn, "an answer to no atomic");
      }
      ++answer_msn_;
      Answer(op, response.old_value);
      return Parse::kAgain;
    }
    case RdmapOpcode::kSend: {
      uint8_t code = 0;
      if ((flags_ & kFlagReason) == 0 || !header.last || !DecodeReason(payload, &code)) {
        return Violate(kTermNoBuffer, "a Send to an initiator");
      }
      if (code != 0 && code < static_cast<uint8_t>(Code::kCount)) {
        reason_ = static_cast<Code>(code);
      }
      return Parse::kAgain;
    }
    case RdmapOpcode::kTerminate:
      OnTerminate(payload);
      return Parse::kEnded;
    default: return Violate(kTermRdmapOpcode, "a request to an initiator");
  }
}

// The peer broke the protocol: says so with a Terminate where the stream is between two FPDUs of
// ours, and ends the stream.
Initiator::Parse Initiator::Violate(TerminateCode code, const char* context) {
  if (queue_.empty()) {
    std::array<std::byte, kTerminateFpduMax> fpdu;
    EncodeTerminate(fpdu.data(), code, {buffer_.get() + begin_, end_ - begin_});
    const uint32_t bytes = SealFpdu(fpdu.data(), crc_);
    // Best effort: the stream ends either way.
    [[maybe_unused]] const ssize_t sent =
        ::send(socket_.get(), fpdu.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  ::shutdown(socket_.get(), SHUT_WR);
  End({Code::kProtocol, 0, context}, code.Packed());
  return Parse::kEnded;
}

}  // namespace farpage
