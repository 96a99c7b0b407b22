// A file mapped into memory.
#pragma once

#include <sys/mman.h>

#include <cstddef>

#include "bench/die.h"
#include "bench/page_file.h"

namespace farpage::bench {

// All of a file under MADV_RANDOM (a fault reads one page from the device), unmapped with the
// object.
class PageMapping {
 public:
  // `sharing` is MAP_SHARED or MAP_PRIVATE.
  PageMapping(const PageFile& file, int sharing) : bytes_(static_cast<size_t>(file.size_bytes())) {
    void* const start =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, sharing | MAP_NORESERVE, file.fd(), 0);
    if (start == MAP_FAILED) Die("mmap");
    start_ = static_cast<std::byte*>(start);
    Must(madvise(start_, bytes_, MADV_RANDOM), "madvise");
  }
  ~PageMapping() { munmap(start_, bytes_); }
  PageMapping(const PageMapping&) = delete;
  PageMapping& operator=(const PageMapping&) = delete;

  [[nodiscard]] std::byte* start() const { return start_; }
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] std::byte* page(uint64_t index) const { return start_ + index * kFilePageBytes; }

 private:
  size_t bytes_;
  std::byte* start_ = nullptr;
};

}  // namespace farpage::bench
