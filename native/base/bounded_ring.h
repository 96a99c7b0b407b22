// A first-in first-out queue of fixed capacity.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace farpage {

// Holds up to `capacity` (rounded up to a power of two) values; allocates once. Thread: one owner.
template <typename T>
class BoundedRing {
 public:
  explicit BoundedRing(size_t capacity)
      : mask_(std::bit_ceil(capacity) - 1), values_(std::make_unique<T[]>(mask_ + 1)) {}

  [[nodiscard]] bool empty() const { return head_ == tail_; }
  [[nodiscard]] bool full() const { return size() == mask_ + 1; }
  [[nodiscard]] size_t size() const { return tail_ - head_; }

  // Requires !full().
  void Push(const T& value) { values_[tail_++ & mask_] = value; }
  // Require !empty().
  [[nodiscard]] T& Front() { return values_[head_ & mask_]; }
  void Pop() { ++head_; }
  // The `index`-th from the front. Requires index < size().
  [[nodiscard]] const T& At(size_t index) const { return values_[(head_ + index) & mask_]; }
  void Clear() { head_ = tail_ = 0; }

 private:
  size_t head_ = 0;
  size_t tail_ = 0;
  size_t mask_;
  std::unique_ptr<T[]> values_;
};

}  // namespace farpage
