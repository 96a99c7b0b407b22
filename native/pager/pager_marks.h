// When memory counts as nearly full.
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory/region.h"

namespace farpage {

// The pager evicts down to the low mark once the high one is passed. What is free there would make
// hits: so little of a large budget, and in a small one what a sweep needs to be worth its grace
// period, or the part of it that may be spent on that.
inline constexpr uint64_t kFreePart = 128;
inline constexpr uint64_t kFreePartMax = 32;
inline constexpr uint64_t kFreePages = 128;

// A region whose dirty pages may go has filled memory once it has so large a part of the frames
// dirty: who wants more for it waits for those, and nothing that is in use goes for it.
inline constexpr uint64_t kDirtyPart = 4;
inline bool HasFilledMemory(const Region& region, uint64_t frames_max) {
  if (!region.write_behind && region.overlay == nullptr) return false;
  const uint64_t dirty = region.table->dirty();
  return dirty - std::min(dirty, region.table->elsewhere()) > frames_max / kDirtyPart;
}

constexpr uint64_t FreeAtHighMark(uint64_t frames_max) {
  return std::max(frames_max / kFreePart, std::min(frames_max / kFreePartMax, kFreePages));
}
constexpr uint64_t HighMark(uint64_t frames_max) { return frames_max - FreeAtHighMark(frames_max); }
constexpr uint64_t LowMark(uint64_t frames_max) {
  return frames_max - 2 * FreeAtHighMark(frames_max);
}

}  // namespace farpage
