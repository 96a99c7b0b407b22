// A picture of a region's pages, in cells.
#pragma once

#include <cstdint>
#include <span>

#include "pager/evictor.h"

namespace farpage {

inline constexpr uint64_t kPageMapCellsMax = 65'536;
// Words that are looked at for one picture, at most: some milliseconds. Where there are more, cells
// look at some of theirs, evenly spaced: at chunks, or at words of one.
inline constexpr uint64_t kPageMapWordsMax = uint64_t{1} << 21;

// Bits of a cell: what is true of at least one of its pages.
inline constexpr uint8_t kCellPresent = 1;
inline constexpr uint8_t kCellDirty = 2;
inline constexpr uint8_t kCellWritten = 4;
inline constexpr uint8_t kCellWrittenBack = 8;
inline constexpr uint8_t kCellLost = 16;
inline constexpr uint8_t kCellPartly = 32;     // some of its pages are present, some are not
inline constexpr uint8_t kCellElsewhere = 64;  // in a tier

// What a picture cost.
struct PageMapCost {
  uint64_t words = 0;     // that were read
  uint64_t searches = 0;  // for the next chunk of a summary
};

// Fills `cells`, each with an equal share of `run`. Chunks that the summaries say are empty are not
// looked at, and where a summary has nothing it is gone over twice, not once for each chunk of
// another. Requires cells.size() <= kPageMapCellsMax. Thread: any.
PageMapCost DrawPageMap(Region& region, Evictor& evictor, PageRun run, std::span<uint8_t> cells);

}  // namespace farpage
