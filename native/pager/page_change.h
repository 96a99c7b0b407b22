// Small loops around PageTable::Change that every part of the pager needs.
#pragma once

#include "memory/page_table.h"

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

}  // namespace farpage
