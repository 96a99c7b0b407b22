// When pages were last used, coarsely: a tick of this clock is in every page word.
#pragma once

#include <atomic>
#include <cstdint>

#include "memory/page_state.h"

namespace farpage {

// How long a tick is unless somebody says otherwise: how finely ages of pages are known.
inline constexpr uint64_t kUseTickNs = 30'000'000'000;
// Words have room for so many ticks, then they begin anew.
inline constexpr uint32_t kUseTicks = (kUsed >> kUsedShift) + 1;
// Ages are known up to so many, 25 h and one: a sweep sees to it that what is older counts as so
// old.
inline constexpr uint32_t kAgeTicksMax = 3001;
inline constexpr uint32_t kAgeSweepTicks = 512;
// Who looks at ages may hold a `now` that is older than the words by less than this.
inline constexpr uint32_t kAgeLookTicksMax = 64;
static_assert(kAgeTicksMax + kAgeSweepTicks + kAgeLookTicksMax < kUseTicks);

// Ticks since `word` was last used, at `now` of the clock. A page was used at some moment of its
// tick, so it has not been used for one tick less than this, at least.
constexpr uint32_t AgeTicks(PageWord word, PageWord now) {
  const uint32_t ticks = ((now & kUsed) - (word & kUsed)) >> kUsedShift;
  return ticks < kUseTicks - kAgeLookTicksMax ? ticks : 0;
}

// The age in ticks, at least, of pages that nobody has used for `age_ns`.
constexpr uint64_t ColdTicks(uint64_t age_ns, uint64_t tick_ns) {
  return (age_ns + tick_ns - 1) / tick_ns + 1;
}

// Nobody but its owner moves it, one tick at a time: where that comes late, pages are taken for
// younger than they are and never for older. Thread: any.
class UseClock {
 public:
  // The tick as words have it.
  [[nodiscard]] PageWord Now() const { return now_.load(std::memory_order_relaxed); }
  // Goes on by one tick; true when the ages of all pages are due for a sweep.
  bool Advance() {
    const PageWord now = now_.fetch_add(1u << kUsedShift, std::memory_order_relaxed);
    return ((now >> kUsedShift) + 1) % kAgeSweepTicks == 0;
  }

 private:
  std::atomic<PageWord> now_{0};
};

}  // namespace farpage
