// Small steps over page words and runs that every part of the pager needs.
#pragma once

#include <vector>

#include "memory/page_table.h"
#include "memory/region.h"

namespace farpage {

// Applies `next(word)` until it sticks; `next` returns the word unchanged to give up. Returns the
// word that was replaced, and the new one through `after`.
template <typename Next>
PageWord ChangePage(PageTable& table, PageIndex page, Next next, PageWord* after = nullptr) {
  PageWord word = table.Load(page);
  for (;;) {
    const PageWord want = next(word);
    if (want == word || table.Change(page, word, want)) {
      if (after != nullptr) *after = want;
      return word;
    }
  }
}

// True: the newest bytes of the page are in the region's overlay.
inline bool IsElsewhere(const Region& region, PageIndex page) {
  return region.overlay != nullptr && (region.table->Load(page) & kElsewhere) != 0;
}

// Adds a page behind the last run, or to it when it follows. Pages come in order.
inline void AppendPage(std::vector<PageRun>& runs, PageIndex page) {
  if (!runs.empty() && runs.back().end() == page) {
    runs.back().count++;
  } else {
    runs.push_back({page, 1});
  }
}

}  // namespace farpage
