#include "pager/working_set.h"

#include <algorithm>

#include "pager/page_change.h"

namespace farpage {

WorkingSet FindWorkingSet(Region& region, Evictor& evictor, PageWord now, uint32_t ticks) {
  WorkingSet found;
  PageTable& table = *region.table;
  for (uint64_t chunk = evictor.NextPresent(table, 0); chunk * kSummaryPages < table.pages();
       chunk = evictor.NextPresent(table, chunk + 1)) {
    const PageIndex end = std::min(table.pages(), (chunk + 1) * kSummaryPages);
    for (PageIndex page = chunk * kSummaryPages; page < end; page++) {
      const PageWord word = table.Load(page);
      const PageState state = StateOf(word);
      if (state != PageState::kPresent && state != PageState::kCopying) continue;
      if ((word & kUnused) != 0 || AgeTicks(word, now) > ticks) continue;
      AppendPage((word & kTrial) != 0 ? found.warm : found.hot, page);
    }
  }
  found.hot.resize(std::min(found.hot.size(), kWorkingSetRunsMax));
  found.warm.resize(std::min(found.warm.size(), kWorkingSetRunsMax - found.hot.size()));
  return found;
}

}  // namespace farpage
