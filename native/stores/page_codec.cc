#include "stores/page_codec.h"

#include <cstring>

#include "base/page.h"

// The library itself, compiled here; what it exports stays hidden in this program.
#define LZ4LIB_VISIBILITY
#include <lz4.c>

namespace farpage {

bool IsUniformPage(const std::byte* page, std::byte* value) {
  // Each byte equals its neighbour; memcmp leaves at the first that does not.
  if (std::memcmp(page, page + 1, kPageBytes - 1) != 0) return false;
  *value = page[0];
  return true;
}

uint32_t CompressPage(const std::byte* page, std::byte* to, uint32_t room) {
  // 16 KiB of hash table; on the stack it would be cleared by nobody else.
  thread_local LZ4_stream_t state;
  const int length = LZ4_compress_fast_extState(&state, reinterpret_cast<const char*>(page),
                                                reinterpret_cast<char*>(to),
                                                static_cast<int>(kPageBytes),
                                                static_cast<int>(room), 1);
  return length > 0 ? static_cast<uint32_t>(length) : 0;
}

bool DecompressPage(const std::byte* from, uint32_t bytes, std::byte* page) {
  return LZ4_decompress_safe(reinterpret_cast<const char*>(from), reinterpret_cast<char*>(page),
                             static_cast<int>(bytes), static_cast<int>(kPageBytes)) ==
         static_cast<int>(kPageBytes);
}

}  // namespace farpage
