// Memory for whole pages, aligned as O_DIRECT wants it (open(2)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/page.h"

namespace farpage {

// `data()` is null where there is no memory for it, or no page; the bytes are not set.
class PageBuffer {
 public:
  PageBuffer() = default;
  explicit PageBuffer(uint64_t pages)
      : data_(pages == 0 ? nullptr
                         : static_cast<std::byte*>(
                               std::aligned_alloc(kPageBytes, pages << kPageShift))) {}

  [[nodiscard]] std::byte* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
};

}  // namespace farpage
