// How many bytes of regions may be allocated: a count with a bound, below another one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace farpage {

// A region is charged in full when it is allocated and until it is removed; while it is only
// reserved it is charged nothing. A session's account lies below the appliance's, so both have
// room for what either lends. Thread: any.
class AllocationAccount {
 public:
  static constexpr uint64_t kUnbounded = ~uint64_t{0};

  explicit AllocationAccount(uint64_t bytes_max,
                             std::shared_ptr<AllocationAccount> above = nullptr)
      : bytes_max_(bytes_max), above_(std::move(above)) {}

  // Charges `bytes` here and above, or nothing.
  [[nodiscard]] bool TryTake(uint64_t bytes) {
    uint64_t before = bytes_.load(std::memory_order_relaxed);
    do {
      if (before > bytes_max_ || bytes > bytes_max_ - before) return false;
    } while (!bytes_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
    if (above_ == nullptr || above_->TryTake(bytes)) return true;
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return false;
  }
  void Return(uint64_t bytes) {
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    if (above_ != nullptr) above_->Return(bytes);
  }

  [[nodiscard]] uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t bytes_max() const { return bytes_max_; }

 private:
  const uint64_t bytes_max_;
  const std::shared_ptr<AllocationAccount> above_;
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace farpage
