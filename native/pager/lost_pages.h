// Pages whose bytes cannot be read any more.
#pragma once

#include "memory/frame_budget.h"
#include "memory/region.h"

namespace farpage {

// Present pages of `run` that really cannot be read (their file was cut underneath, an I/O error)
// become LOST and give their frames back; the others are left alone. Touches one byte of each.
// Thread: any, while the region's memory is mapped.
void LoseUnreadable(Region& region, FrameBudget& budget, PageRun run);

}  // namespace farpage
