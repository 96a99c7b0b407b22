// When memory counts as nearly full.
#pragma once

#include <cstdint>

namespace farpage {

// The pager evicts down to the low mark once the high one is passed: parts of the budget.
inline constexpr uint64_t kHighMarkPart = 32;
inline constexpr uint64_t kLowMarkPart = 16;

constexpr uint64_t HighMark(uint64_t frames_max) { return frames_max - frames_max / kHighMarkPart; }
constexpr uint64_t LowMark(uint64_t frames_max) { return frames_max - frames_max / kLowMarkPart; }

}  // namespace farpage
