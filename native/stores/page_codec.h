// Pages made smaller, by LZ4.
#pragma once

#include <cstddef>
#include <cstdint>

namespace farpage {

// True when all bytes of the page are the same; which, through `value`.
bool IsUniformPage(const std::byte* page, std::byte* value);

// Compresses a page into at most `room` bytes at `to`; the length, or 0 when it does not get as
// small as that. Thread: any.
uint32_t CompressPage(const std::byte* page, std::byte* to, uint32_t room);

// The other way round; false when the bytes are no page's. Thread: any.
bool DecompressPage(const std::byte* from, uint32_t bytes, std::byte* page);

}  // namespace farpage
