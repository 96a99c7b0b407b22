// An owned range of address space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/result.h"

namespace farpage {

// Unmaps its range when it goes. Move-only; the owner decides which threads may touch the bytes.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        length_(std::exchange(other.length_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { Reset(); }

  // Zeroed private memory, committed page by page as it is touched (MAP_NORESERVE, mmap(2)).
  static Result<Mapping> Anonymous(uint64_t length_bytes);

  // Maps `fd` from `offset_bytes` on at an address that is a multiple of kWindowBytes.
  // `protection` and `flags` as in mmap(2). Fails: kAddressSpace when no range is free,
  // otherwise as the system says.
  static Result<Mapping> OfFile(int fd, uint64_t offset_bytes, uint64_t length_bytes,
                                int protection, int flags);

  // Maps the same part of the same file anew over a part of what OfFile mapped: private copies and
  // the kernel's tables of it go, advice too. False: the system says no, what was there stays.
  [[nodiscard]] bool Renew(std::byte* at, uint64_t length_bytes, int fd, uint64_t offset_bytes,
                           int protection, int flags) const;

  // Maps what a descriptor of the kernel's offers at `offset_bytes`, shared and populated.
  static Result<Mapping> Shared(int fd, uint64_t offset_bytes, uint64_t length_bytes);

  [[nodiscard]] std::byte* data() const { return base_; }
  [[nodiscard]] uint64_t size() const { return length_; }
  [[nodiscard]] bool valid() const { return base_ != nullptr; }
  void Reset();

 private:
  Mapping(std::byte* base, uint64_t length) : base_(base), length_(length) {}
  std::byte* base_ = nullptr;
  uint64_t length_ = 0;
};

}  // namespace farpage
