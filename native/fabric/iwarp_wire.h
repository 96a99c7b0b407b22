// iWARP as it lies on the wire: numbers and layouts, nothing that acts.
// RFC 5044 (MPA, section 4.1), RFC 5041 (DDP, section 4), RFC 5040 (RDMAP, section 4),
// RFC 7306 (atomics, section 5.2). All fields big-endian but the CRC.
//
// An FPDU: u16 ULPDU length | DDP header | payload or RDMAP header | 0..3 zero pad | u32 CRC.
// Offsets here are counted from the FPDU's first byte.
#pragma once

#include <cstddef>
#include <cstdint>

namespace farpage {

// The RDMAP message of an FPDU (low nibble of byte 3).
enum class RdmapOpcode : uint8_t {
  kWrite = 0x0,
  kReadRequest = 0x1,
  kReadResponse = 0x2,
  kSend = 0x3,
  kSendInvalidate = 0x4,
  kSendSolicited = 0x5,
  kSendSolicitedInvalidate = 0x6,
  kTerminate = 0x7,
  kImmediate = 0x8,
  kImmediateSolicited = 0x9,
  kAtomicRequest = 0xA,
  kAtomicResponse = 0xB,
};

// Queue numbers of untagged messages.
inline constexpr uint32_t kQueueSend = 0;
inline constexpr uint32_t kQueueReadRequest = 1;  // Read and Atomic Requests, one MSN sequence
inline constexpr uint32_t kQueueTerminate = 2;
inline constexpr uint32_t kQueueAtomicResponse = 3;

// AOpCode of an Atomic Request.
inline constexpr uint32_t kAtomicFetchAdd = 0;
inline constexpr uint32_t kAtomicCompareSwap = 2;

// Byte 2: T, L, reserved, DDP version. Byte 3: RDMAP version, reserved, opcode.
inline constexpr uint8_t kDdpTagged = 0x80;
inline constexpr uint8_t kDdpLast = 0x40;
inline constexpr uint8_t kDdpVersionMask = 0x03;
inline constexpr uint8_t kDdpVersion = 0x01;
inline constexpr uint8_t kRdmapVersionMask = 0xC0;
inline constexpr uint8_t kRdmapVersion = 0x40;
inline constexpr uint8_t kRdmapOpcodeMask = 0x0F;

inline constexpr uint32_t kFpduLengthBytes = 2;
inline constexpr uint32_t kCrcBytes = 4;
inline constexpr uint32_t kDdpTaggedBytes = 14;
inline constexpr uint32_t kDdpUntaggedBytes = 18;
// From the FPDU's first byte to its payload or RDMAP header.
inline constexpr uint32_t kTaggedHeaderBytes = kFpduLengthBytes + kDdpTaggedBytes;
inline constexpr uint32_t kUntaggedHeaderBytes = kFpduLengthBytes + kDdpUntaggedBytes;

inline constexpr uint32_t kReadRequestBytes = 28;
inline constexpr uint32_t kAtomicRequestBytes = 52;
inline constexpr uint32_t kAtomicResponseBytes = 12;
inline constexpr uint32_t kTerminateControlBytes = 4;
// Control, DDP segment length, the offending DDP header, the offending read header.
inline constexpr uint32_t kTerminateBytesMax = 4 + 2 + kDdpUntaggedBytes + kReadRequestBytes;

// Bits of a Terminate's HdrCt byte (RFC 5040 section 4.8).
inline constexpr uint8_t kTerminateHasLength = 0x80;
inline constexpr uint8_t kTerminateHasDdp = 0x40;
inline constexpr uint8_t kTerminateHasRead = 0x20;

// Bytes of an FPDU's padding, and of the whole FPDU, for a ULPDU of `ulpdu_bytes`.
constexpr uint32_t FpduPadBytes(uint32_t ulpdu_bytes) {
  return (0u - (kFpduLengthBytes + ulpdu_bytes)) & 3u;
}
// Padding and CRC, at most.
inline constexpr uint32_t kTrailerBytesMax = 3 + kCrcBytes;
constexpr uint32_t FpduBytes(uint32_t ulpdu_bytes) {
  return ((kFpduLengthBytes + ulpdu_bytes + 3u) & ~3u) + kCrcBytes;
}

inline constexpr uint32_t kReadRequestUlpdu = kDdpUntaggedBytes + kReadRequestBytes;
inline constexpr uint32_t kAtomicRequestUlpdu = kDdpUntaggedBytes + kAtomicRequestBytes;
inline constexpr uint32_t kAtomicResponseUlpdu = kDdpUntaggedBytes + kAtomicResponseBytes;
inline constexpr uint32_t kReadRequestFpdu = FpduBytes(kReadRequestUlpdu);
inline constexpr uint32_t kAtomicRequestFpdu = FpduBytes(kAtomicRequestUlpdu);
inline constexpr uint32_t kAtomicResponseFpdu = FpduBytes(kAtomicResponseUlpdu);
inline constexpr uint32_t kTerminateFpduMax = FpduBytes(kDdpUntaggedBytes + kTerminateBytesMax);

// The largest ULPDU we send: what the u16 holds without a pad. Received ones may be 65,535.
inline constexpr uint32_t kUlpduBytesMax = 65534;
// The smallest MULPDU that we let an odd TCP_MAXSEG lower us to (RFC 5044 section 4.5: 128).
inline constexpr uint32_t kUlpduBytesMin = 128;

static_assert(kTaggedHeaderBytes == 16 && kUntaggedHeaderBytes == 20);
static_assert(kReadRequestUlpdu == 46 && kReadRequestFpdu == 52);
static_assert(kAtomicRequestUlpdu == 70 && kAtomicRequestFpdu == 76);
static_assert(kAtomicResponseUlpdu == 30 && kAtomicResponseFpdu == 36);
static_assert(FpduPadBytes(kUlpduBytesMax) == 0 && FpduBytes(kUlpduBytesMax) == 65540);

// Why a stream ended: layer, type within it, code within that (iwarp.md section 5's table; RFC
// 5040 section 4.8, RFC 5041 section 6.2.1, RFC 5044 section 8).
struct TerminateCode {
  uint8_t layer = 0;
  uint8_t type = 0;
  uint8_t code = 0;

  // layer<<16 | type<<8 | code, as completions carry it.
  [[nodiscard]] constexpr int32_t Packed() const { return layer << 16 | type << 8 | code; }
  constexpr bool operator==(const TerminateCode&) const = default;
};

// RDMAP, remote protection: a Read or Atomic Request that may not be served.
inline constexpr TerminateCode kTermReadStag{0, 1, 0x00};
inline constexpr TerminateCode kTermReadBounds{0, 1, 0x01};
inline constexpr TerminateCode kTermReadAccess{0, 1, 0x02};
inline constexpr TerminateCode kTermReadStream{0, 1, 0x03};
inline constexpr TerminateCode kTermReadWrap{0, 1, 0x04};
// RDMAP, remote operation.
inline constexpr TerminateCode kTermRdmapVersion{0, 2, 0x05};
inline constexpr TerminateCode kTermRdmapOpcode{0, 2, 0x06};
inline constexpr TerminateCode kTermAtomicAlignment{0, 2, 0x07};  // RFC 7306 section 8.2
inline constexpr TerminateCode kTermLocal{0, 2, 0x07};            // our own failure, this stream
inline constexpr TerminateCode kTermRdmapUnspecified{0, 2, 0xFF};
// DDP, tagged buffer.
inline constexpr TerminateCode kTermWriteStag{1, 1, 0x00};
inline constexpr TerminateCode kTermWriteBounds{1, 1, 0x01};
inline constexpr TerminateCode kTermWriteStream{1, 1, 0x02};
inline constexpr TerminateCode kTermWriteWrap{1, 1, 0x03};
inline constexpr TerminateCode kTermTaggedVersion{1, 1, 0x04};
// DDP, untagged buffer.
inline constexpr TerminateCode kTermQueue{1, 2, 0x01};
inline constexpr TerminateCode kTermNoBuffer{1, 2, 0x02};
inline constexpr TerminateCode kTermMsn{1, 2, 0x03};
inline constexpr TerminateCode kTermOffset{1, 2, 0x04};
inline constexpr TerminateCode kTermTooLong{1, 2, 0x05};
inline constexpr TerminateCode kTermUntaggedVersion{1, 2, 0x06};
// MPA.
inline constexpr TerminateCode kTermMpaCrc{2, 0, 0x02};
inline constexpr TerminateCode kTermMpaMarker{2, 0, 0x03};
inline constexpr TerminateCode kTermMpaFrame{2, 0, 0x04};
inline constexpr TerminateCode kTermMpaLocal{2, 0, 0x05};
inline constexpr TerminateCode kTermMpaIrd{2, 0, 0x06};
inline constexpr TerminateCode kTermMpaRtr{2, 0, 0x07};

static_assert(kTermReadBounds.Packed() == 0x000101 && kTermMpaCrc.Packed() == 0x020002);

}  // namespace farpage
