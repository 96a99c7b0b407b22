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

// Fills `cells`, each with an equal share of `run`. Chunks that the summaries say are empty are not
// looked at. Returns how many words it read. Requires cells.size() <= kPageMapCellsMax.
// Thread: any.
uint64_t DrawPageMap(Region& region, Evictor& evictor, PageRun run, std::span<uint8_t> cells);

}  // namespace farpage
