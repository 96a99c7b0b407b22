// What the kernel's page cache holds of a file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace farpage {

// How many bytes from `offset_bytes` on, in whole pages and at most `length_bytes`, are in the
// page cache. By cachestat(2) (Linux 6.5, 0.2 us), else by mincore(2) on `mapped`, the address
// where the range is mapped. Zero when neither can tell. Thread: any.
uint64_t CachedBytes(int fd, uint64_t offset_bytes, uint64_t length_bytes, std::byte* mapped);

}  // namespace farpage
