// A picture of a region's pages, in cells.
#pragma once

#include <cstdint>
#include <span>

#include "pager/evictor.h"

namespace farpage::binding {

inline constexpr uint64_t kPageMapCellsMax = 65'536;

// Bits of a cell: what is true of at least one of its pages.
inline constexpr uint8_t kCellPresent = 1;
inline constexpr uint8_t kCellDirty = 2;
inline constexpr uint8_t kCellWritten = 4;
inline constexpr uint8_t kCellWrittenBack = 8;
inline constexpr uint8_t kCellLost = 16;
inline constexpr uint8_t kCellPartly = 32;  // some of its pages are present, some are not

inline constexpr uint8_t kCellElsewhere = 64;  // in a tier

// Fills `cells`, each with an equal share of `run`. Costs what is present, not what could be:
// chunks that the summaries say are empty are not looked at. Thread: any.
void DrawPageMap(Region& region, Evictor& evictor, PageRun run, std::span<uint8_t> cells);

}  // namespace farpage::binding
