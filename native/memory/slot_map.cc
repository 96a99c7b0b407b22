#include "memory/slot_map.h"

namespace farpage {

uint64_t SlotMap::Take(uint64_t want, uint64_t* first) {
  if (used_ == slots_) return 0;
  const auto is_free = [&](uint64_t slot) {
    return slot / 64 >= taken_.size() || (taken_[slot / 64] >> (slot % 64) & 1) == 0;
  };
  uint64_t at = hand_;
  while (!is_free(at)) {
    // Whole words that are taken are stepped over.
    const bool full = at % 64 == 0 && taken_[at / 64] == ~uint64_t{0};
    at += full ? 64 : 1;
    if (at >= slots_) at = 0;
  }
  uint64_t count = 0;
  while (count < want && at + count < slots_ && is_free(at + count)) {
    const uint64_t slot = at + count++;
    if (slot / 64 >= taken_.size()) taken_.resize(slot / 64 + 1);
    taken_[slot / 64] |= uint64_t{1} << (slot % 64);
  }
  used_ += count;
  hand_ = at + count == slots_ ? 0 : at + count;
  *first = at;
  return count;
}

void SlotMap::Release(uint64_t first, uint64_t count) {
  for (uint64_t slot = first; slot < first + count; slot++) {
    taken_[slot / 64] &= ~(uint64_t{1} << (slot % 64));
  }
  used_ -= count;
  if (used_ != 0) return;
  taken_.clear();
  hand_ = 0;
}

}  // namespace farpage
