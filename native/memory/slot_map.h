// Which page-sized places of something large are taken.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace farpage {

// Neighbours that are looked at together: 1 MiB.
inline constexpr uint64_t kSlotGroup = 256;
// Of places that are given back in no order, e^-3 are still taken when the hand comes by again:
// runs of twenty are free, where twice as many would leave runs of three.
inline constexpr uint64_t kSlotReach = 4;

// First fit from a hand on: neighbours in time are neighbours in place. The hand goes round
// kSlotReach times as many places as are taken, so few of them lie at the beginning, wherever more
// once were. A bit per place, as far as any was ever taken. Thread: one at a time.
class SlotMap {
 public:
  explicit SlotMap(uint64_t slots) : slots_(slots) {}

  // Up to `want` places that follow one another, from `*first` on; how many.
  uint64_t Take(uint64_t want, uint64_t* first);
  // Takes all places of a group of which none is taken; how many they are.
  uint64_t TakeGroup(uint64_t group);
  // Gives places back that were taken.
  void Release(uint64_t first, uint64_t count);

  // Where the hand turns back now, in whole groups: beyond it nothing is taken anew.
  [[nodiscard]] uint64_t reach() const {
    return std::min(slots_, (kSlotReach * used_ / kSlotGroup + 1) * kSlotGroup);
  }
  // No place of a group is taken.
  [[nodiscard]] bool IsFree(uint64_t group) const;

  [[nodiscard]] uint64_t slots() const { return slots_; }
  [[nodiscard]] uint64_t used() const { return used_; }

 private:
  uint64_t slots_;
  std::vector<uint64_t> taken_;
  uint64_t hand_ = 0;  // where the next search begins
  uint64_t used_ = 0;
};

}  // namespace farpage
