// Pages: the unit of presence, dirtiness and transfer to stores.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace farpage {

// log2 of the page size: 4 KiB, or the system's page where that is larger (16 or 64 KiB arm64
// kernels), because no mapping can be populated or dropped in smaller steps.
inline const uint32_t kPageShift =
    static_cast<uint32_t>(__builtin_ctzl(static_cast<unsigned long>(sysconf(_SC_PAGESIZE))));
inline const uint64_t kPageBytes = uint64_t{1} << kPageShift;

// Region memory is aligned so, and the page cache is dropped in windows of this size: dropping an
// aligned window also frees the kernel's last-level page table.
inline constexpr uint64_t kWindowBytes = uint64_t{2} << 20;

using PageIndex = uint64_t;  // 0-based position in its region

// A run of pages [first, first + count).
struct PageRun {
  PageIndex first = 0;
  uint64_t count = 0;

  [[nodiscard]] PageIndex end() const { return first + count; }
  [[nodiscard]] uint64_t offset_bytes() const { return first << kPageShift; }
  [[nodiscard]] uint64_t length_bytes() const { return count << kPageShift; }
  bool operator==(const PageRun&) const = default;
};

// The pages that bytes [offset, offset + length) touch; length 0 touches none.
inline PageRun PagesOf(uint64_t offset_bytes, uint64_t length_bytes) {
  if (length_bytes == 0) return {offset_bytes >> kPageShift, 0};
  const PageIndex first = offset_bytes >> kPageShift;
  return {first, ((offset_bytes + length_bytes - 1) >> kPageShift) - first + 1};
}

}  // namespace farpage
