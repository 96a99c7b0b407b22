#include "base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace farpage {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, bits reversed

using ByteTable = std::array<uint32_t, 256>;

consteval ByteTable MakeByteTable() {
  ByteTable table{};
  for (uint32_t n = 0; n < 256; ++n) {
    uint32_t crc = n;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ kPolynomial : crc >> 1;
    table[n] = crc;
  }
  return table;
}
constexpr ByteTable kByteTable = MakeByteTable();

// `to + bytes` where something is copied; there is no `to` otherwise.
template <bool kCopy>
inline std::byte* At(std::byte* to, size_t bytes) {
  if constexpr (kCopy) return to + bytes;
  return nullptr;
}

template <bool kCopy>
uint32_t TableSum(uint32_t crc, std::byte* to, const std::byte* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    const std::byte byte = *static_cast<const volatile std::byte*>(from + i);
    if constexpr (kCopy) to[i] = byte;
    crc = (crc >> 8) ^ kByteTable[(crc ^ static_cast<uint32_t>(byte)) & 0xFF];
  }
  return crc;
}

#if defined(__x86_64__) || defined(__aarch64__)

// One load per eight bytes, also when the compiler would rather read twice (see CopyAndCrc32c).
inline uint64_t LoadOnce(const std::byte* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof word);
  asm("" : "+r"(word));
  return word;
}

#endif

#if defined(__x86_64__)

// Three independent streams hide the instruction's latency of three cycles. Their sums are joined
// by advancing the earlier ones over the bytes of the later: multiplication by x^(8n) modulo the
// polynomial, linear in the sum's bits, hence four table look-ups.
using ShiftTable = std::array<ByteTable, 4>;

consteval uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1) != 0 ? (b >> 1) ^ kPolynomial : b >> 1;
  }
  return product;
}

// The operator that advances a sum over `bytes` (a power of two) zero bytes.
consteval ShiftTable MakeShiftTable(size_t bytes) {
  uint32_t power = 0x00800000;  // x^8, bits reversed
  for (size_t n = 1; n < bytes; n *= 2) power = Multiply(power, power);
  ShiftTable table{};
  for (uint32_t lane = 0; lane < 4; ++lane) {
    // Linear: the entries of single bits by multiplication, the others as their sums.
    for (uint32_t bit = 0; bit < 8; ++bit) {
      table[lane][1u << bit] = Multiply(power, (1u << bit) << (8 * lane));
    }
    for (uint32_t n = 1; n < 256; ++n) {
      if ((n & (n - 1)) != 0) table[lane][n] = table[lane][n & (n - 1)] ^ table[lane][n & (0u - n)];
    }
  }
  return table;
}

constexpr size_t kLongBlock = 4096;
constexpr size_t kShortBlock = 256;
constexpr ShiftTable kLongShift = MakeShiftTable(kLongBlock);
constexpr ShiftTable kShortShift = MakeShiftTable(kShortBlock);

inline uint32_t Shift(const ShiftTable& table, uint64_t crc) {
  return table[0][crc & 0xFF] ^ table[1][crc >> 8 & 0xFF] ^ table[2][crc >> 16 & 0xFF] ^
         table[3][crc >> 24 & 0xFF];
}

template <bool kCopy>
[[gnu::target("sse4.2"), gnu::always_inline]] inline uint64_t Step(uint64_t crc, std::byte* to,
                                                                   const std::byte* from) {
  const uint64_t word = LoadOnce(from);
  if constexpr (kCopy) std::memcpy(to, &word, sizeof word);
  return _mm_crc32_u64(crc, word);
}

template <bool kCopy, size_t kBlock>
[[gnu::target("sse4.2")]] uint64_t ThreeWay(uint64_t crc, const ShiftTable& shift, std::byte* to,
                                            const std::byte* from) {
  uint64_t second = 0;
  uint64_t third = 0;
  for (size_t i = 0; i < kBlock; i += 8) {
    crc = Step<kCopy>(crc, At<kCopy>(to, i), from + i);
    second = Step<kCopy>(second, At<kCopy>(to, kBlock + i), from + kBlock + i);
    third = Step<kCopy>(third, At<kCopy>(to, 2 * kBlock + i), from + 2 * kBlock + i);
  }
  crc = Shift(shift, crc) ^ second;
  return Shift(shift, crc) ^ third;
}

template <bool kCopy>
[[gnu::target("sse4.2")]] uint32_t FastSum(uint32_t seed, std::byte* to, const std::byte* from,
                                           size_t bytes) {
  uint64_t crc = seed;
  size_t at = 0;
  for (; bytes - at >= 3 * kLongBlock; at += 3 * kLongBlock) {
    crc = ThreeWay<kCopy, kLongBlock>(crc, kLongShift, At<kCopy>(to, at), from + at);
  }
  for (; bytes - at >= 3 * kShortBlock; at += 3 * kShortBlock) {
    crc = ThreeWay<kCopy, kShortBlock>(crc, kShortShift, At<kCopy>(to, at), from + at);
  }
  for (; bytes - at >= 8; at += 8) crc = Step<kCopy>(crc, At<kCopy>(to, at), from + at);
  return TableSum<kCopy>(static_cast<uint32_t>(crc), At<kCopy>(to, at), from + at, bytes - at);
}

const bool kHasInstruction = __builtin_cpu_supports("sse4.2") != 0;

#elif defined(__aarch64__)

template <bool kCopy>
[[gnu::target("+crc")]] uint32_t FastSum(uint32_t crc, std::byte* to, const std::byte* from,
                                         size_t bytes) {
  size_t at = 0;
  for (; bytes - at >= 8; at += 8) {
    const uint64_t word = LoadOnce(from + at);
    if constexpr (kCopy) std::memcpy(to + at, &word, sizeof word);
    crc = __crc32cd(crc, word);
  }
  return TableSum<kCopy>(crc, At<kCopy>(to, at), from + at, bytes - at);
}

const bool kHasInstruction = (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;

#else

template <bool kCopy>
uint32_t FastSum(uint32_t crc, std::byte* to, const std::byte* from, size_t bytes) {
  return TableSum<kCopy>(crc, to, from, bytes);
}

const bool kHasInstruction = false;

#endif

}  // namespace

uint32_t Crc32c(uint32_t seed, std::span<const std::byte> bytes) {
  if (!kHasInstruction) return Crc32cByTable(seed, bytes);
  return ~FastSum<false>(~seed, nullptr, bytes.data(), bytes.size());
}

uint32_t CopyAndCrc32c(void* to, const void* from, size_t bytes, uint32_t seed) {
  if (!kHasInstruction) return CopyAndCrc32cByTable(to, from, bytes, seed);
  return ~FastSum<true>(~seed, static_cast<std::byte*>(to), static_cast<const std::byte*>(from),
                        bytes);
}

uint32_t Crc32cByTable(uint32_t seed, std::span<const std::byte> bytes) {
  return ~TableSum<false>(~seed, nullptr, bytes.data(), bytes.size());
}

uint32_t CopyAndCrc32cByTable(void* to, const void* from, size_t bytes, uint32_t seed) {
  return ~TableSum<true>(~seed, static_cast<std::byte*>(to), static_cast<const std::byte*>(from),
                         bytes);
}

}  // namespace farpage
