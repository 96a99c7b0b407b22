// Walks over the pages that have bytes which their store may lack.
#pragma once

#include <algorithm>

#include "memory/page_table.h"

namespace farpage {

// Calls `each(page)` for every page in [from, end) of a chunk that has unsafe ones, in order, until
// it returns false. In time proportional to what is dirty.
template <typename Each>
bool EachDirtyChunkPage(PageTable& table, PageIndex from, PageIndex end, Each each) {
  Summary& summary = table.dirty_summary();
  end = std::min(end, table.pages());
  for (uint64_t chunk = summary.Next(from / kSummaryPages);
       chunk < summary.chunks() && chunk * kSummaryPages < end; chunk = summary.Next(chunk + 1)) {
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    for (PageIndex page = std::max(from, chunk * kSummaryPages); page < last; page++) {
      if (!each(page)) return false;
    }
  }
  return true;
}

// Clears the summary bits of chunks that hold nothing to write any more. In a pause of write-back.
inline void TidySummary(PageTable& table, PageIndex from, PageIndex end) {
  Summary& summary = table.dirty_summary();
  for (uint64_t chunk = summary.Next(from / kSummaryPages);
       chunk < summary.chunks() && chunk * kSummaryPages < end; chunk = summary.Next(chunk + 1)) {
    summary.Clear(chunk);
    const PageIndex last = std::min((chunk + 1) * kSummaryPages, table.pages());
    for (PageIndex page = chunk * kSummaryPages; page < last; page++) {
      if ((table.Load(page) & kUnsafe) != 0) {
        summary.Set(page);
        break;
      }
    }
  }
}

}  // namespace farpage
