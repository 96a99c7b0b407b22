#include "memory/slot_map.h"

namespace farpage {

uint64_t SlotMap::Take(uint64_t want, uint64_t* first) {
  if (used_ == slots_) return 0;
  const auto is_free = [&](uint64_t slot) {
    return slot / 64 >= taken_.size() || (taken_[slot / 64] >> (slot % 64) & 1) == 0;
  };
  const uint64_t end = reach();
  uint64_t at = hand_ < end ? hand_ : 0;
  while (!is_free(at)) {
    // Whole words that are taken are stepped over.
    const bool full = at % 64 == 0 && taken_[at / 64] == ~uint64_t{0};
    at += full ? 64 : 1;
    if (at >= end) at = 0;
  }
  uint64_t count = 0;
  while (count < want && at + count < end && is_free(at + count)) {
    const uint64_t slot = at + count++;
    if (slot / 64 >= taken_.size()) taken_.resize(slot / 64 + 1);
    taken_[slot / 64] |= uint64_t{1} << (slot % 64);
  }
  used_ += count;
  hand_ = at + count;
  *first = at;
  return count;
}

uint64_t SlotMap::TakeGroup(uint64_t group) {
  const uint64_t first = group * kSlotGroup;
  const uint64_t end = std::min(first + kSlotGroup, slots_);
  if (taken_.size() * 64 < end) taken_.resize((end + 63) / 64);
  for (uint64_t slot = first; slot < end; slot++) taken_[slot / 64] |= uint64_t{1} << (slot % 64);
  used_ += end - first;
  return end - first;
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

bool SlotMap::IsFree(uint64_t group) const {
  const uint64_t first = std::min<uint64_t>(group * kSlotGroup / 64, taken_.size());
  const uint64_t end = std::min<uint64_t>((group + 1) * kSlotGroup / 64, taken_.size());
  return std::all_of(taken_.data() + first, taken_.data() + end,
                     [](uint64_t word) { return word == 0; });
}

}  // namespace farpage
