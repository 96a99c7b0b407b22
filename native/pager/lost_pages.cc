#include "pager/lost_pages.h"

#include "memory/region_copy.h"
#include "pager/filler.h"
#include "pager/page_change.h"

namespace farpage {

void LoseUnreadable(Region& region, FrameBudget& budget, PageRun run) {
  for (PageIndex page = run.first; page < run.end(); page++) {
    std::byte probe;
    if (CopyFromRegion(&probe, region.memory->address() + (page << kPageShift), 1)) continue;
    PageWord after = 0;
    const PageWord before = ChangePage(
        *region.table, page,
        [](PageWord word) {
          if (StateOf(word) != PageState::kPresent) return word;
          return WithState(word & ~(kReadable | kWritable | kHeld), PageState::kLost);
        },
        &after);
    if (before != after) Filler::ReturnFrames(region, budget, 1);
  }
}

}  // namespace farpage
