// What a store was given becomes durable, or is known not to be: who asks for an fdatasync(2) hears
// of every write before it, and nobody hears of a lost one again.
#pragma once

#include <vector>

#include "memory/region.h"

namespace farpage {

// What of [0, pages) the store has and no fdatasync has covered, in order. In time proportional to
// what is dirty.
std::vector<PageRun> UnsyncedRuns(Region& region);

// They are on stable storage.
void MarkDurable(PageTable& table, const std::vector<PageRun>& runs);

// After a failed fdatasync: the kernel forgets which pages it lost and says so once, so every page
// of the region that is not yet durable is dirty again. Requires: the region's write_back lock.
void Redirty(Region& region);

// The word of a page whose bytes may not have come to the store, though it took them. Requires the
// same, where the region is atomic: it is dirty before the instant of a sync, or behind it.
inline PageWord WrittenAgain(const PageTable& table, PageWord word) {
  if ((word & kUnsynced) == 0) return word;
  const PageWord rest = word & ~kUnsynced;
  return (rest & kDirty) != 0 ? rest : (rest & ~kEpoch) | kDirty | table.Epoch();
}

// Makes durable what the store was given, and writes nothing. Requires: the region's write_back
// lock. Fails as MakeDurable does: then the pages are dirty.
Status Harden(Region& region, const std::vector<PageRun>& runs);

}  // namespace farpage
