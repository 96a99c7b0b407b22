// CRC32C (Castagnoli, RFC 3720 appendix B.4), the checksum of every FPDU when it is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace farpage {

// The CRC32C of `bytes`, continued from `seed`: the finished CRC of what came before, 0 at the
// start. Uses the processor's instruction where it has one (SSE4.2, ARMv8 CRC), three streams at
// a time on x86-64, else a table. Thread: any.
[[nodiscard]] uint32_t Crc32c(uint32_t seed, std::span<const std::byte> bytes);

// Copies `bytes` bytes and returns the CRC32C of exactly what was copied: each byte of `from` is
// loaded once, so a concurrent writer cannot make the copy and its sum disagree. The ranges must
// not overlap.
uint32_t CopyAndCrc32c(void* to, const void* from, size_t bytes, uint32_t seed);

// The same two without the processor's instruction; for tests and for hosts without it.
[[nodiscard]] uint32_t Crc32cByTable(uint32_t seed, std::span<const std::byte> bytes);
uint32_t CopyAndCrc32cByTable(void* to, const void* from, size_t bytes, uint32_t seed);

}  // namespace farpage
