// Rights that present pages lack, given back as far as the region's protection permits.
#pragma once

#include "memory/region.h"

namespace farpage {

inline bool MayHave(const Region& region, PageIndex page, PageWord right) {
  return (Protection::View(*region.protection).Forbidden(page) & right) == 0;
}

// Gives `page`, present with this word, the right that it lacks, unless that has been forbidden
// meanwhile. The first write since a write-back is observed by the fabric's DIRTY, so it is just
// allowed. The word may have changed: who asked looks again.
inline void Permit(Region& region, PageIndex page, PageWord word, PageWord right) {
  const Protection::View view(*region.protection);
  if ((view.Forbidden(page) & right) != 0) return;
  (void)region.table->Change(page, word, word | right);
}

}  // namespace farpage
