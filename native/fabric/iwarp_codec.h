// Encoding and decoding of FPDUs. Everything is a pure function over bytes: no state, no
// allocation, no failure other than by value. Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/endian.h"
#include "fabric/iwarp_wire.h"

namespace farpage {

// ---- Headers, decoded ----------------------------------------------------------------------

// An FPDU's DDP and RDMAP header. Tagged messages use stag and tagged_offset, untagged ones
// queue, msn and message_offset (and stag for the STag to invalidate).
struct FpduHeader {
  RdmapOpcode opcode = RdmapOpcode::kWrite;
  bool tagged = false;
  bool last = false;
  uint16_t ulpdu_bytes = 0;
  uint16_t header_bytes = 0;    // kTaggedHeaderBytes or kUntaggedHeaderBytes
  uint16_t payload_bytes = 0;   // bytes after the header, before the pad
  uint16_t trailer_bytes = 0;   // pad and CRC, 4..7
  uint32_t stag = 0;
  uint64_t tagged_offset = 0;
  uint32_t queue = 0;
  uint32_t msn = 0;
  uint32_t message_offset = 0;

  [[nodiscard]] uint32_t fpdu_bytes() const {
    return uint32_t{header_bytes} + payload_bytes + trailer_bytes;
  }
};

enum class DecodeState : uint8_t {
  kDecoded,    // the header is complete and lawful
  kNeedMore,   // fewer bytes than the header needs
  kViolation,  // end the stream with `violation`
};

// Fits a register; `violation` is meaningful for kViolation only.
struct DecodeOutcome {
  DecodeState state = DecodeState::kNeedMore;
  TerminateCode violation{};
};

// Decodes and validates the header at the start of `bytes`: versions, opcode against tagging and
// queue, fixed lengths, the ULPDU's least length, MO and L where a message has one segment. What
// needs a connection's state (STag, bounds, MSN) is the caller's. Needs 16 bytes of a tagged and
// 20 of an untagged FPDU, not the whole of it. Never reads beyond `bytes`.
DecodeOutcome DecodeFpduHeader(std::span<const std::byte> bytes, FpduHeader* header);

// ---- Read Request, RFC 5040 section 4.4 ----------------------------------------------------

struct ReadRequest {
  uint32_t sink_stag = 0;
  uint64_t sink_offset = 0;
  uint32_t size_bytes = 0;
  uint32_t source_stag = 0;
  uint64_t source_offset = 0;
};

inline constexpr uint32_t kReadRequestPrefix = kReadRequestUlpdu << 16 | 0x4141;

// `at` is the 28-byte RDMAP header (offset 20 of the FPDU).
inline ReadRequest DecodeReadRequest(const std::byte* at) {
  return {LoadBe32(at), LoadBe64(at + 4), LoadBe32(at + 12), LoadBe32(at + 16), LoadBe64(at + 20)};
}

// The fast path of a responder: when `fpdu` (at least 52 readable bytes) starts a lawful Read
// Request with MSN `expected_msn`, decodes it and returns true. False means "take the long way
// with DecodeFpduHeader"; nothing has been decided. The CRC is not looked at.
inline bool TryDecodeReadRequest(const std::byte* fpdu, uint32_t expected_msn, ReadRequest* out) {
  if (LoadBe32(fpdu) != kReadRequestPrefix || LoadBe32(fpdu + 8) != kQueueReadRequest ||
      LoadBe32(fpdu + 12) != expected_msn || LoadBe32(fpdu + 16) != 0) {
    return false;
  }
  *out = DecodeReadRequest(fpdu + kUntaggedHeaderBytes);
  return true;
}

// The fast path for tagged messages: true when `fpdu` (at least 16 readable bytes) is a lawful
// tagged segment of `opcode`. Fills all of `header` but queue, msn and message_offset.
inline bool TryDecodeTagged(const std::byte* fpdu, RdmapOpcode opcode, FpduHeader* header) {
  const uint32_t word = LoadBe32(fpdu);
  const uint32_t ulpdu = word >> 16;
  const uint32_t want = uint32_t{kDdpTagged | kDdpVersion} << 8 | kRdmapVersion |
                        static_cast<uint32_t>(opcode);
  // Reserved bits (0x3c of byte 2, 0x30 of byte 3) are ignored on receipt, RFC 5041 section 4.1.
  constexpr uint32_t kMask = uint32_t{kDdpTagged | kDdpVersionMask} << 8 | kRdmapVersionMask |
                             kRdmapOpcodeMask;
  if ((word & kMask) != want || ulpdu < kDdpTaggedBytes) return false;
  header->opcode = opcode;
  header->tagged = true;
  header->last = (word & (uint32_t{kDdpLast} << 8)) != 0;
  header->ulpdu_bytes = static_cast<uint16_t>(ulpdu);
  header->header_bytes = kTaggedHeaderBytes;
  header->payload_bytes = static_cast<uint16_t>(ulpdu - kDdpTaggedBytes);
  header->trailer_bytes = static_cast<uint16_t>(FpduPadBytes(ulpdu) + kCrcBytes);
  header->stag = LoadBe32(fpdu + 4);
  header->tagged_offset = LoadBe64(fpdu + 8);
  return true;
}

// ---- Atomics, RFC 7306 section 5.2 ---------------------------------------------------------

struct AtomicRequest {
  uint32_t operation = kAtomicFetchAdd;  // kAtomicFetchAdd or kAtomicCompareSwap, else refuse
  uint32_t request_id = 0;
  uint32_t stag = 0;
  uint64_t offset = 0;
  uint64_t operand = 0;  // what to add, or the value to swap in
  uint64_t mask = 0;     // FetchAdd: tops of fields, 0 = one 64-bit field; CompareSwap: swap mask
  uint64_t compare = 0;
  uint64_t compare_mask = 0;
};

struct AtomicResponse {
  uint32_t request_id = 0;
  uint64_t old_value = 0;
};

// `at` is the RDMAP header (offset 20 of the FPDU): 52 and 12 bytes.
AtomicRequest DecodeAtomicRequest(const std::byte* at);
inline AtomicResponse DecodeAtomicResponse(const std::byte* at) {
  return {LoadBe32(at), LoadBe64(at + 4)};
}

// The masked operations of RFC 7306 sections 5.1.1 and 5.1.2 on a value in host order: what is to
// be stored. ApplyCompareSwap returns `old` where the comparison fails.
uint64_t ApplyFetchAdd(uint64_t old, uint64_t add, uint64_t mask);
inline uint64_t ApplyCompareSwap(uint64_t old, const AtomicRequest& request) {
  if (((old ^ request.compare) & request.compare_mask) != 0) return old;
  return (old & ~request.mask) | (request.operand & request.mask);
}

// ---- Terminate, RFC 5040 section 4.8 -------------------------------------------------------

// A received Terminate. The offending headers say which request ended the stream.
struct TerminateMessage {
  TerminateCode code{};
  bool mirrored = false;        // siw's bit order was recognised and undone
  bool has_ddp = false;         // the fields of `ddp` that its tagging gives
  bool has_read = false;
  uint16_t ddp_segment_bytes = 0;
  FpduHeader ddp{};
  ReadRequest read{};
};

// Decodes the bytes after the DDP header (offset 20). Lenient: a Terminate that is too short for
// what its HdrCt announces yields what is there. False when even the control field is missing.
bool DecodeTerminate(std::span<const std::byte> payload, TerminateMessage* message);

// ---- Encoding ------------------------------------------------------------------------------
// Each writes from the length field on and returns nothing; pad and CRC follow the payload and
// are the caller's (SealFpdu for a contiguous FPDU).

// 16 bytes: the header of one segment of an RDMA Write or a Read Response.
// Requires payload_bytes <= kUlpduBytesMax - kDdpTaggedBytes.
inline void EncodeTagged(std::byte* to, RdmapOpcode opcode, bool last, uint32_t payload_bytes,
                         uint32_t stag, uint64_t tagged_offset) {
  StoreBe32(to, (payload_bytes + kDdpTaggedBytes) << 16 |
                    uint32_t{kDdpTagged | kDdpVersion} << 8 | (last ? 0x4000u : 0u) |
                    kRdmapVersion | static_cast<uint32_t>(opcode));
  StoreBe32(to + 4, stag);
  StoreBe64(to + 8, tagged_offset);
}

// 20 bytes: the header of an untagged message's only segment (L set, MO 0) with `payload_bytes`.
inline void EncodeUntagged(std::byte* to, RdmapOpcode opcode, uint32_t queue, uint32_t msn,
                           uint32_t payload_bytes) {
  StoreBe32(to, (payload_bytes + kDdpUntaggedBytes) << 16 |
                    uint32_t{kDdpLast | kDdpVersion} << 8 | kRdmapVersion |
                    static_cast<uint32_t>(opcode));
  StoreBe32(to + 4, 0);
  StoreBe32(to + 8, queue);
  StoreBe32(to + 12, msn);
  StoreBe32(to + 16, 0);
}

// 48 bytes; with the CRC 52.
inline void EncodeReadRequest(std::byte* to, uint32_t msn, const ReadRequest& request) {
  EncodeUntagged(to, RdmapOpcode::kReadRequest, kQueueReadRequest, msn, kReadRequestBytes);
  StoreBe32(to + 20, request.sink_stag);
  StoreBe64(to + 24, request.sink_offset);
  StoreBe32(to + 32, request.size_bytes);
  StoreBe32(to + 36, request.source_stag);
  StoreBe64(to + 40, request.source_offset);
}

// 20 bytes; `payload_bytes` of the caller's follow. One segment only.
inline void EncodeSend(std::byte* to, uint32_t msn, uint32_t payload_bytes) {
  EncodeUntagged(to, RdmapOpcode::kSend, kQueueSend, msn, payload_bytes);
}

// 72 bytes; with the CRC 76.
void EncodeAtomicRequest(std::byte* to, uint32_t msn, const AtomicRequest& request);
// 32 bytes; with the CRC 36. `msn` counts Atomic Responses on their own queue.
void EncodeAtomicResponse(std::byte* to, uint32_t msn, const AtomicResponse& response);

// A Terminate for a stream that ends with `code`. `offending` is the FPDU that caused it, from its
// length field on, as far as it was received: its DDP header is embedded when at least 16 (tagged)
// or 20 bytes are there, and the read header when it is a Read Request of which 48 bytes are there.
// Empty embeds nothing. Writes at most kTerminateFpduMax - 4 bytes (a multiple of 4: the pad is
// included) and returns how many; the CRC follows.
uint32_t EncodeTerminate(std::byte* to, TerminateCode code, std::span<const std::byte> offending);

// Zeroes the pad of a contiguous FPDU whose length field has been written and appends the CRC32C
// of length field through pad when `crc` is set, else 0. Returns the FPDU's whole length.
uint32_t SealFpdu(std::byte* fpdu, bool crc);

// The CRC field holds the finished CRC32C least significant byte first (RFC 5044 section 4.4).
inline void StoreCrc(std::byte* to, uint32_t crc) { std::memcpy(to, &crc, sizeof crc); }
inline uint32_t LoadCrc(const std::byte* from) {
  uint32_t crc;
  std::memcpy(&crc, from, sizeof crc);
  return crc;
}

// ---- Segmentation --------------------------------------------------------------------------

// The largest ULPDU for segments of `emss` bytes: EMSS - (6 + EMSS mod 4), RFC 5044 section 4.5,
// held between kUlpduBytesMin and kUlpduBytesMax.
constexpr uint32_t MaxUlpdu(uint32_t emss) {
  if (emss < kUlpduBytesMin + 9) return kUlpduBytesMin;
  const uint32_t ulpdu = emss - (6 + emss % 4);
  return ulpdu < kUlpduBytesMax ? ulpdu : kUlpduBytesMax;
}

// MULPDU of a connected stream socket: from TCP_MAXSEG, or kUlpduBytesMax for a Unix socket and
// wherever the kernel does not say (tcp(7)).
uint32_t MaxUlpduOfSocket(int socket);

// Length of the next tagged segment that starts at `offset` with `left` bytes to go: at most what
// `max_ulpdu` allows, ending on a multiple of `boundary_bytes` (a power of two; 1: anywhere) unless
// it is the last or no boundary is in reach. At least 1 unless `left` is 0.
constexpr uint32_t TaggedSegmentBytes(uint64_t offset, uint64_t left, uint32_t max_ulpdu,
                                      uint64_t boundary_bytes) {
  const uint32_t most = max_ulpdu - kDdpTaggedBytes;
  if (left <= most) return static_cast<uint32_t>(left);
  const uint64_t end = (offset + most) & ~(boundary_bytes - 1);
  return end > offset ? static_cast<uint32_t>(end - offset) : most;
}

}  // namespace farpage
