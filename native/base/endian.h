// Unaligned big-endian loads and stores, as every iWARP header wants them.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace farpage {

static_assert(std::endian::native == std::endian::little, "x86-64 and arm64 Linux only");

inline uint16_t LoadBe16(const void* from) {
  uint16_t raw;
  std::memcpy(&raw, from, sizeof raw);
  return __builtin_bswap16(raw);
}
inline uint32_t LoadBe32(const void* from) {
  uint32_t raw;
  std::memcpy(&raw, from, sizeof raw);
  return __builtin_bswap32(raw);
}
inline uint64_t LoadBe64(const void* from) {
  uint64_t raw;
  std::memcpy(&raw, from, sizeof raw);
  return __builtin_bswap64(raw);
}
inline void StoreBe16(void* to, uint16_t value) {
  value = __builtin_bswap16(value);
  std::memcpy(to, &value, sizeof value);
}
inline void StoreBe32(void* to, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(to, &value, sizeof value);
}
inline void StoreBe64(void* to, uint64_t value) {
  value = __builtin_bswap64(value);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace farpage
