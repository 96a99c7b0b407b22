// The working set of a region: pages that were used, and are here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "memory/region.h"
#include "memory/use_clock.h"
#include "pager/evictor.h"

namespace farpage {

// Runs of one working set, at most; the hottest are kept.
inline constexpr size_t kWorkingSetRunsMax = 65'536;

// Runs in the order of their pages.
struct WorkingSet {
  std::vector<PageRun> hot;   // used again after they came
  std::vector<PageRun> warm;  // used once
};

// The pages of a region that were used in the last `ticks` of the clock, as far as they are
// present; what read-ahead brought and nobody used is none. In time proportional to the present
// pages. Thread: any that may block.
WorkingSet FindWorkingSet(Region& region, Evictor& evictor, PageWord now, uint32_t ticks);

}  // namespace farpage
