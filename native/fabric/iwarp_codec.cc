#include "fabric/iwarp_codec.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>

#include "base/crc32c.h"

namespace farpage {
namespace {

// What an untagged opcode demands. payload_bytes is -1 where any length will do.
struct UntaggedRule {
  bool known = false;
  uint8_t queue = 0;
  bool one_segment = false;
  int16_t payload_bytes = -1;
};

constexpr UntaggedRule kUntaggedRules[16] = {
    {},                                                  // Write: tagged only
    {true, kQueueReadRequest, true, kReadRequestBytes},  // Read Request
    {},                                                  // Read Response: tagged only
    {true, kQueueSend, false, -1},                       // Send
    {true, kQueueSend, false, -1},                       // Send with invalidate
    {true, kQueueSend, false, -1},                       // Send with solicited event
    {true, kQueueSend, false, -1},                       // both
    {true, kQueueTerminate, true, -1},                   // Terminate
    {true, kQueueSend, true, 8},                         // Immediate, RFC 7306 section 6.1
    {true, kQueueSend, true, 8},                         // Immediate with solicited event
    {true, kQueueReadRequest, true, kAtomicRequestBytes},
    {true, kQueueAtomicResponse, true, kAtomicResponseBytes},
    {}, {}, {}, {},
};

constexpr DecodeOutcome Violation(TerminateCode code) { return {DecodeState::kViolation, code}; }

DecodeOutcome DecodeTaggedHeader(std::span<const std::byte> bytes, RdmapOpcode opcode,
                                 FpduHeader* header) {
  if (opcode != RdmapOpcode::kWrite && opcode != RdmapOpcode::kReadResponse) {
    return Violation(kTermRdmapOpcode);
  }
  if (LoadBe16(bytes.data()) < kDdpTaggedBytes) return Violation(kTermRdmapUnspecified);
  if (bytes.size() < kTaggedHeaderBytes) return {DecodeState::kNeedMore, {}};
  header->queue = header->msn = header->message_offset = 0;
  return TryDecodeTagged(bytes.data(), opcode, header) ? DecodeOutcome{DecodeState::kDecoded, {}}
                                                       : Violation(kTermRdmapUnspecified);
}

// Fills the untagged fields of `header` from the DDP header at `ddp` (its first byte is the
// control byte, so that an embedded header without a length field will do).
void LoadUntagged(const std::byte* ddp, FpduHeader* header) {
  header->stag = LoadBe32(ddp + 2);
  header->queue = LoadBe32(ddp + 6);
  header->msn = LoadBe32(ddp + 10);
  header->message_offset = LoadBe32(ddp + 14);
}

}  // namespace

DecodeOutcome DecodeFpduHeader(std::span<const std::byte> bytes, FpduHeader* header) {
  if (bytes.size() < 4) return {DecodeState::kNeedMore, {}};
  const uint32_t ulpdu = LoadBe16(bytes.data());
  const auto ddp = std::to_integer<uint8_t>(bytes[2]);
  const auto rdmap = std::to_integer<uint8_t>(bytes[3]);
  const bool tagged = (ddp & kDdpTagged) != 0;
  if ((ddp & kDdpVersionMask) != kDdpVersion) {
    return Violation(tagged ? kTermTaggedVersion : kTermUntaggedVersion);
  }
  if ((rdmap & kRdmapVersionMask) != kRdmapVersion) return Violation(kTermRdmapVersion);
  const auto opcode = static_cast<RdmapOpcode>(rdmap & kRdmapOpcodeMask);
  if (tagged) return DecodeTaggedHeader(bytes, opcode, header);

  const UntaggedRule rule = kUntaggedRules[rdmap & kRdmapOpcodeMask];
  if (!rule.known) return Violation(kTermRdmapOpcode);
  if (ulpdu < kDdpUntaggedBytes) return Violation(kTermRdmapUnspecified);
  if (bytes.size() < kUntaggedHeaderBytes) return {DecodeState::kNeedMore, {}};
  LoadUntagged(bytes.data() + kFpduLengthBytes, header);
  header->opcode = opcode;
  header->tagged = false;
  header->last = (ddp & kDdpLast) != 0;
  header->ulpdu_bytes = static_cast<uint16_t>(ulpdu);
  header->header_bytes = kUntaggedHeaderBytes;
  header->payload_bytes = static_cast<uint16_t>(ulpdu - kDdpUntaggedBytes);
  header->trailer_bytes = static_cast<uint16_t>(FpduPadBytes(ulpdu) + kCrcBytes);
  header->tagged_offset = 0;
  if (header->queue != rule.queue) return Violation(kTermQueue);
  if (rule.one_segment && header->message_offset != 0) return Violation(kTermOffset);
  if (rule.one_segment && !header->last) return Violation(kTermTooLong);
  if (rule.payload_bytes >= 0 && header->payload_bytes != rule.payload_bytes) {
    return Violation(header->payload_bytes > rule.payload_bytes ? kTermTooLong
                                                                : kTermRdmapUnspecified);
  }
  return {DecodeState::kDecoded, {}};
}

AtomicRequest DecodeAtomicRequest(const std::byte* at) {
  AtomicRequest request;
  request.operation = LoadBe32(at);
  request.request_id = LoadBe32(at + 4);
  request.stag = LoadBe32(at + 8);
  request.offset = LoadBe64(at + 12);
  request.operand = LoadBe64(at + 20);
  request.mask = LoadBe64(at + 28);
  request.compare = LoadBe64(at + 36);
  request.compare_mask = LoadBe64(at + 44);
  return request;
}

void EncodeAtomicRequest(std::byte* to, uint32_t msn, const AtomicRequest& request) {
  EncodeUntagged(to, RdmapOpcode::kAtomicRequest, kQueueReadRequest, msn, kAtomicRequestBytes);
  StoreBe32(to + 20, request.operation);
  StoreBe32(to + 24, request.request_id);
  StoreBe32(to + 28, request.stag);
  StoreBe64(to + 32, request.offset);
  StoreBe64(to + 40, request.operand);
  StoreBe64(to + 48, request.mask);
  StoreBe64(to + 56, request.compare);
  StoreBe64(to + 64, request.compare_mask);
}

void EncodeAtomicResponse(std::byte* to, uint32_t msn, const AtomicResponse& response) {
  EncodeUntagged(to, RdmapOpcode::kAtomicResponse, kQueueAtomicResponse, msn,
                 kAtomicResponseBytes);
  StoreBe32(to + 20, response.request_id);
  StoreBe64(to + 24, response.old_value);
}

uint64_t ApplyFetchAdd(uint64_t old, uint64_t add, uint64_t mask) {
  // A set bit of the mask is the top bit of a field: no carry leaves it. Adding all bits but the
  // tops carries into them only; the tops themselves then add without a carry.
  const uint64_t low = (old & ~mask) + (add & ~mask);
  return low ^ ((old ^ add) & mask);
}

uint32_t EncodeTerminate(std::byte* to, TerminateCode code, std::span<const std::byte> offending) {
  std::byte* const control = to + kUntaggedHeaderBytes;
  uint32_t payload = kTerminateControlBytes;
  uint8_t present = 0;
  if (offending.size() >= kTaggedHeaderBytes) {
    const bool tagged = (std::to_integer<uint8_t>(offending[2]) & kDdpTagged) != 0;
    const uint32_t ddp_bytes = tagged ? kDdpTaggedBytes : kDdpUntaggedBytes;
    if (offending.size() >= kFpduLengthBytes + ddp_bytes) {
      present = kTerminateHasLength | kTerminateHasDdp;
      // The DDP segment's length and its header lie together in the FPDU as they do here.
      std::memcpy(control + payload, offending.data(), kFpduLengthBytes + ddp_bytes);
      payload += kFpduLengthBytes + ddp_bytes;
      const bool read = !tagged && static_cast<RdmapOpcode>(std::to_integer<uint8_t>(offending[3]) &
                                                            kRdmapOpcodeMask) ==
                                       RdmapOpcode::kReadRequest;
      if (read && offending.size() >= kUntaggedHeaderBytes + kReadRequestBytes) {
        present |= kTerminateHasRead;
        std::memcpy(control + payload, offending.data() + kUntaggedHeaderBytes, kReadRequestBytes);
        payload += kReadRequestBytes;
      }
    }
  }
  EncodeUntagged(to, RdmapOpcode::kTerminate, kQueueTerminate, 1, payload);
  StoreBe32(control, uint32_t{code.layer} << 28 | uint32_t{code.type} << 24 |
                         uint32_t{code.code} << 16 | uint32_t{present} << 8);
  const uint32_t pad = FpduPadBytes(kDdpUntaggedBytes + payload);
  std::memset(control + payload, 0, pad);
  return kUntaggedHeaderBytes + payload + pad;
}

bool DecodeTerminate(std::span<const std::byte> payload, TerminateMessage* message) {
  if (payload.size() < kTerminateControlBytes) return false;
  const auto layer_type = std::to_integer<uint8_t>(payload[0]);
  auto present = std::to_integer<uint8_t>(payload[2]);
  *message = {};
  // siw writes its bit-fields little-endian: layer and type swapped, HdrCt mirrored into the bits
  // that the RFC reserves (seen in traces of Linux 6.1).
  message->mirrored = (present & 0xE0) == 0 && (present & 0x07) != 0;
  if (message->mirrored) {
    present = static_cast<uint8_t>((present & 1) << 7 | (present & 2) << 5 | (present & 4) << 3);
  }
  const auto high = static_cast<uint8_t>(layer_type >> 4);
  const auto low = static_cast<uint8_t>(layer_type & 0x0F);
  message->code = {message->mirrored ? low : high, message->mirrored ? high : low,
                   std::to_integer<uint8_t>(payload[1])};
  payload = payload.subspan(kTerminateControlBytes);
  if ((present & kTerminateHasLength) != 0) {
    if (payload.size() < 2) return true;
    message->ddp_segment_bytes = LoadBe16(payload.data());
    payload = payload.subspan(2);
  }
  if ((present & kTerminateHasDdp) == 0 || payload.size() < kDdpTaggedBytes) return true;
  const auto ddp = std::to_integer<uint8_t>(payload[0]);
  const bool tagged = (ddp & kDdpTagged) != 0;
  if (!tagged && payload.size() < kDdpUntaggedBytes) return true;
  message->has_ddp = true;
  message->ddp.tagged = tagged;
  message->ddp.last = (ddp & kDdpLast) != 0;
  message->ddp.opcode =
      static_cast<RdmapOpcode>(std::to_integer<uint8_t>(payload[1]) & kRdmapOpcodeMask);
  if (tagged) {
    message->ddp.stag = LoadBe32(payload.data() + 2);
    message->ddp.tagged_offset = LoadBe64(payload.data() + 6);
    payload = payload.subspan(kDdpTaggedBytes);
  } else {
    LoadUntagged(payload.data(), &message->ddp);
    payload = payload.subspan(kDdpUntaggedBytes);
  }
  if ((present & kTerminateHasRead) == 0 || payload.size() < kReadRequestBytes) return true;
  message->has_read = true;
  message->read = DecodeReadRequest(payload.data());
  return true;
}

uint32_t SealFpdu(std::byte* fpdu, bool crc) {
  const uint32_t ulpdu = LoadBe16(fpdu);
  const uint32_t whole = FpduBytes(ulpdu);
  const uint32_t pad = FpduPadBytes(ulpdu);
  std::memset(fpdu + kFpduLengthBytes + ulpdu, 0, pad + kCrcBytes);
  if (crc) StoreCrc(fpdu + whole - kCrcBytes, Crc32c(0, {fpdu, whole - kCrcBytes}));
  return whole;
}

uint32_t MaxUlpduOfSocket(int socket) {
  int emss = 0;
  socklen_t length = sizeof emss;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_MAXSEG, &emss, &length) != 0 || emss <= 0) {
    return kUlpduBytesMax;
  }
  return MaxUlpdu(static_cast<uint32_t>(emss));
}

}  // namespace farpage
