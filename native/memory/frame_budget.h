// How many pages may be present: a count with a bound.
#pragma once

#include <atomic>
#include <cstdint>

namespace farpage {

// Frames are taken before a page becomes present and returned after its memory is gone.
// Thread: any.
class FrameBudget {
 public:
  explicit FrameBudget(uint64_t frames_max) : max_(frames_max) {}

  // Takes `frames` or nothing.
  [[nodiscard]] bool TryTake(uint64_t frames) {
    const uint64_t before = used_.fetch_add(frames, std::memory_order_relaxed);
    if (before + frames <= max_) return true;
    used_.fetch_sub(frames, std::memory_order_relaxed);
    return false;
  }
  // Takes them even beyond the bound: pages that a restart found in memory.
  void Take(uint64_t frames) { used_.fetch_add(frames, std::memory_order_relaxed); }
  void Return(uint64_t frames) { used_.fetch_sub(frames, std::memory_order_relaxed); }

  [[nodiscard]] uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t max() const { return max_; }

 private:
  const uint64_t max_;
  std::atomic<uint64_t> used_{0};
};

}  // namespace farpage
