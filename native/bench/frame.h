// What raw ping-pong sends: as many bytes as Farpage's READ, READ response and WRITE take.
#pragma once

#include <cstddef>
#include <cstdint>

namespace farpage::bench {

enum class FrameKind : uint32_t { kRead = 1, kWrite = 2, kResponse = 3 };

// The first bytes of every frame, in the order of the machine: both ends are on one.
struct FrameHead {
  FrameKind kind = FrameKind::kRead;
  uint32_t length_bytes = 0;
  uint64_t offset_bytes = 0;
};
static_assert(sizeof(FrameHead) == 16);

// A READ request is its head and zeros up to the size of an iWARP Read Request FPDU.
inline constexpr size_t kReadRequestBytes = 52;
// The longest payload, the size of the memory that a server lends, and its alignment for payloads.
inline constexpr uint64_t kPayloadBytesMax = uint64_t{1} << 20;
inline constexpr uint64_t kAreaBytes = uint64_t{64} << 20;
inline constexpr uint64_t kDepthMax = 64;

// After a payload: padding to four bytes and the four bytes of the CRC, which nobody sets.
constexpr size_t TailBytes(uint64_t payload_bytes) {
  return static_cast<size_t>((0u - payload_bytes) & 3u) + 4;
}
inline constexpr size_t kTailBytesMax = 7;
// Up to here a copy costs less than a piece more in a gather or scatter list: 303 against 430 ns at
// 1 KiB over TCP, 562 against 608 at 2 KiB.
inline constexpr uint64_t kCopiedBytesMax = 1024;

// The bytes of a response (20 + n + padding) or of a WRITE.
constexpr size_t FrameBytes(uint64_t payload_bytes) {
  return sizeof(FrameHead) + static_cast<size_t>(payload_bytes) + TailBytes(payload_bytes);
}

// What a server's memory holds at `offset_bytes` (a multiple of 8) until a WRITE changes it.
constexpr uint64_t AreaWord(uint64_t offset_bytes) {
  return (offset_bytes + 1) * 0x9E3779B97F4A7C15u;
}

}  // namespace farpage::bench
