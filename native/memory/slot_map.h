// Which page-sized places of something large are taken.
#pragma once

#include <cstdint>
#include <vector>

namespace farpage {

// First fit from a hand on: neighbours in time are neighbours in place. A bit per place, as far as
// any was ever taken. Thread: one at a time.
class SlotMap {
 public:
  explicit SlotMap(uint64_t slots) : slots_(slots) {}

  // Up to `want` places that follow one another, from `*first` on; how many.
  uint64_t Take(uint64_t want, uint64_t* first);
  // Gives places back that were taken.
  void Release(uint64_t first, uint64_t count);

  [[nodiscard]] uint64_t slots() const { return slots_; }
  [[nodiscard]] uint64_t used() const { return used_; }

 private:
  uint64_t slots_;
  std::vector<uint64_t> taken_;
  uint64_t hand_ = 0;  // where the next search begins
  uint64_t used_ = 0;
};

}  // namespace farpage
