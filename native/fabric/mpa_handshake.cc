#include "fabric/mpa_handshake.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"

namespace farpage {
namespace {

constexpr size_t kKeyBytes = 16;
constexpr char kRequestKey[] = "MPA ID Req Frame";
constexpr char kReplyKey[] = "MPA ID Rep Frame";
static_assert(sizeof kRequestKey == kKeyBytes + 1 && sizeof kReplyKey == kKeyBytes + 1);

constexpr uint8_t kFlagMarkers = 0x80;
constexpr uint8_t kFlagCrc = 0x40;
constexpr uint8_t kFlagRejected = 0x20;
constexpr uint8_t kFlagEnhanced = 0x10;

constexpr uint16_t kPeerToPeer = 0x8000;  // beside IRD
constexpr uint16_t kRtrSend = 0x4000;     // beside IRD
constexpr uint16_t kRtrWrite = 0x8000;    // beside ORD
constexpr uint16_t kRtrRead = 0x4000;     // beside ORD
constexpr uint16_t kDepthMask = 0x3FFF;

const char* KeyOf(MpaKind kind) { return kind == MpaKind::kRequest ? kRequestKey : kReplyKey; }

constexpr uint16_t With(bool set, uint16_t bit) { return set ? bit : uint16_t{0}; }

// Our depth for what the peer asks: at most `cap`, "unsaid" mirrored (RFC 6581 section 9.1).
uint16_t Grant(uint16_t asked, uint16_t cap) {
  return asked == kMpaDepthUnsaid ? kMpaDepthUnsaid : std::min(asked, cap);
}

}  // namespace

void MpaFrame::SetPrivate(std::span<const std::byte> bytes) {
  private_bytes = static_cast<uint16_t>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), private_data.begin());
}

uint32_t EncodeMpaFrame(MpaKind kind, const MpaFrame& frame, std::byte* to) {
  std::memcpy(to, KeyOf(kind), kKeyBytes);
  to[16] = std::byte(With(frame.markers, kFlagMarkers) | With(frame.crc, kFlagCrc) |
                     With(frame.rejected, kFlagRejected) | With(frame.enhanced, kFlagEnhanced));
  to[17] = std::byte{frame.revision};
  uint32_t at = kMpaFrameBytes;
  if (frame.enhanced) {
    StoreBe16(to + at, static_cast<uint16_t>(With(frame.peer_to_peer, kPeerToPeer) |
                                             With(frame.rtr_send, kRtrSend) |
                                             (frame.ird & kDepthMask)));
    StoreBe16(to + at + 2, static_cast<uint16_t>(With(frame.rtr_write, kRtrWrite) |
                                                 With(frame.rtr_read, kRtrRead) |
                                                 (frame.ord & kDepthMask)));
    at += kMpaEnhancedBytes;
  }
  std::memcpy(to + at, frame.private_data.data(), frame.private_bytes);
  at += frame.private_bytes;
  StoreBe16(to + 18, static_cast<uint16_t>(at - kMpaFrameBytes));
  return at;
}

size_t MpaParser::Feed(std::span<const std::byte> bytes) {
  size_t taken = 0;
  while (state_ == State::kNeedMore && taken < bytes.size()) {
    const size_t step = std::min(missing(), bytes.size() - taken);
    std::memcpy(bytes_.data() + have_, bytes.data() + taken, step);
    have_ += static_cast<uint32_t>(step);
    taken += step;
    Decode();
  }
  return taken;
}

size_t MpaParser::missing() const {
  if (state_ != State::kNeedMore) return 0;
  if (have_ < kMpaFrameBytes) return kMpaFrameBytes - have_;
  return kMpaFrameBytes + LoadBe16(bytes_.data() + 18) - have_;
}

void MpaParser::Decode() {
  const std::byte* const at = bytes_.data();
  if (std::memcmp(at, KeyOf(kind_), std::min<size_t>(have_, kKeyBytes)) != 0) {
    state_ = State::kViolation;
    return;
  }
  if (have_ < kMpaFrameBytes) return;
  const auto flags = std::to_integer<uint8_t>(at[16]);
  const auto revision = std::to_integer<uint8_t>(at[17]);
  const uint16_t length = LoadBe16(at + 18);
  // Revision 1 reserves S, and reserved bits are ignored (RFC 5044 section 7.1.1).
  const bool enhanced = revision == 2 && (flags & kFlagEnhanced) != 0;
  if (revision < 1 || revision > 2 || length > kMpaPrivateBytesMax ||
      (enhanced && length < kMpaEnhancedBytes)) {
    state_ = State::kViolation;
    return;
  }
  if (have_ < kMpaFrameBytes + length) return;

  frame_.markers = (flags & kFlagMarkers) != 0;
  frame_.crc = (flags & kFlagCrc) != 0;
  frame_.rejected = kind_ == MpaKind::kReply && (flags & kFlagRejected) != 0;
  frame_.enhanced = enhanced;
  frame_.revision = revision;
  std::span<const std::byte> data{at + kMpaFrameBytes, length};
  if (enhanced) {
    const uint16_t ird = LoadBe16(data.data());
    const uint16_t ord = LoadBe16(data.data() + 2);
    frame_.peer_to_peer = (ird & kPeerToPeer) != 0;
    frame_.rtr_send = (ird & kRtrSend) != 0;
    frame_.rtr_write = (ord & kRtrWrite) != 0;
    frame_.rtr_read = (ord & kRtrRead) != 0;
    frame_.ird = ird & kDepthMask;
    frame_.ord = ord & kDepthMask;
    data = data.subspan(kMpaEnhancedBytes);
  }
  frame_.SetPrivate(data);
  state_ = State::kParsed;
}

MpaAnswer AnswerMpaRequest(const MpaFrame& request, const MpaPolicy& policy) {
  MpaAnswer answer;
  MpaFrame& reply = answer.reply;
  reply.revision = request.revision;
  reply.enhanced = request.enhanced;
  reply.crc = answer.crc = request.crc || policy.crc;
  answer.depth = policy.depth;
  if (request.enhanced) {
    reply.ird = Grant(request.ord, policy.depth);
    reply.ord = Grant(request.ird, policy.depth);
    if (reply.ird != kMpaDepthUnsaid) answer.depth = reply.ird;
    reply.peer_to_peer = request.peer_to_peer;
  }
  if (request.markers) {
    answer.refusal = kTermMpaMarker;
  } else if (request.enhanced && request.peer_to_peer) {
    reply.rtr_write = request.rtr_write;
    reply.rtr_read = !reply.rtr_write && request.rtr_read;
    reply.rtr_send = !reply.rtr_write && !reply.rtr_read && request.rtr_send;
    answer.expects_rtr = reply.rtr_write || reply.rtr_read || reply.rtr_send;
    answer.accepted = answer.expects_rtr;
    if (!answer.accepted) answer.refusal = kTermMpaRtr;
  } else {
    answer.accepted = true;
  }
  reply.rejected = !answer.accepted;
  return answer;
}

MpaFrame MakeMpaRequest(bool crc, uint16_t depth, std::span<const std::byte> private_data) {
  MpaFrame frame;
  frame.crc = crc;
  frame.enhanced = true;
  frame.ord = depth;
  frame.SetPrivate(private_data);
  return frame;
}

std::array<std::byte, kRequestPrivateBytes> EncodeRequestPrivate(const RequestPrivate& data) {
  std::array<std::byte, kRequestPrivateBytes> bytes{};
  StoreBe32(bytes.data(), kPrivateDataMagic);
  bytes[4] = std::byte{kPrivateDataVersion};
  bytes[5] = std::byte{data.flags};
  std::memcpy(bytes.data() + 8, data.ticket.data(), data.ticket.size());
  return bytes;
}

bool DecodeRequestPrivate(std::span<const std::byte> bytes, RequestPrivate* data) {
  if (bytes.size() < kRequestPrivateBytes || LoadBe32(bytes.data()) != kPrivateDataMagic ||
      bytes[4] != std::byte{kPrivateDataVersion}) {
    return false;
  }
  data->flags = std::to_integer<uint8_t>(bytes[5]);
  std::memcpy(data->ticket.data(), bytes.data() + 8, data->ticket.size());
  return true;
}

std::array<std::byte, kReplyPrivateBytes> EncodeReplyPrivate(const ReplyPrivate& data) {
  std::array<std::byte, kReplyPrivateBytes> bytes{};
  StoreBe32(bytes.data(), kPrivateDataMagic);
  bytes[4] = std::byte{kPrivateDataVersion};
  bytes[5] = std::byte{data.flags};
  bytes[6] = std::byte{data.status};
  StoreBe32(bytes.data() + 8, data.depth);
  return bytes;
}

bool DecodeReplyPrivate(std::span<const std::byte> bytes, ReplyPrivate* data) {
  if (bytes.size() < kReplyPrivateBytes || LoadBe32(bytes.data()) != kPrivateDataMagic ||
      bytes[4] != std::byte{kPrivateDataVersion}) {
    return false;
  }
  data->flags = std::to_integer<uint8_t>(bytes[5]);
  data->status = std::to_integer<uint8_t>(bytes[6]);
  data->depth = LoadBe32(bytes.data() + 8);
  return true;
}

std::array<std::byte, kReasonBytes> EncodeReason(uint8_t code) {
  std::array<std::byte, kReasonBytes> bytes{};
  StoreBe32(bytes.data(), kPrivateDataMagic);
  bytes[4] = std::byte{code};
  return bytes;
}

bool DecodeReason(std::span<const std::byte> bytes, uint8_t* code) {
  if (bytes.size() != kReasonBytes || LoadBe32(bytes.data()) != kPrivateDataMagic) return false;
  *code = std::to_integer<uint8_t>(bytes[4]);
  return true;
}

}  // namespace farpage
