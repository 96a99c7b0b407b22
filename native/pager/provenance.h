// Where the bytes of a region's pages are from, and where they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "memory/region.h"
#include "pager/evictor.h"

namespace farpage {

// Runs of one answer, at most.
inline constexpr size_t kProvenanceRunsMax = 4096;
// What one answer costs, at most: a unit is a page word, a question to the store is
// kProvenanceAskCost of them. Some 20 ms.
inline constexpr uint64_t kProvenanceCostMax = 4u << 20;
inline constexpr uint64_t kProvenanceAskCost = 256;

enum class Provenance : uint8_t {
  kUntouched,      // not here, and never written: the next touch fills it
  kFilled,         // with the fill value
  kFromFile,       // of the user's
  kFromElsewhere,  // another appliance, a server, a program
  kKept,           // in the appliance's own file of a copy since before the last start, which does
                   // not tell whether it was pulled or written then
  kUnsaved,        // dirty: written here, and its store does not have that yet
  kWrittenBack,    // written here, and its store has it
  kLost,           // no copy of it can be read
};

// Where the newest bytes are; kNone: in memory and tiers they are not.
enum class PagePlace : uint8_t { kNone, kMemory, kTier };

// Neighbours of which the same is true. `origin`: what fills them, or filled them.
struct ProvenanceRun {
  PageRun run;
  Provenance state = Provenance::kUntouched;
  PagePlace place = PagePlace::kNone;
  PageOrigin origin = PageOrigin::kFill;
};

// `next`: the page where to ask on; the end of the range once that has been told.
struct ProvenanceList {
  std::vector<ProvenanceRun> runs;
  PageIndex next = 0;
};

// What is asked. `copy`: of a region whose kept file has pages that were pulled from elsewhere.
struct ProvenanceQuestion {
  PageRun range;
  size_t runs_max = kProvenanceRunsMax;
  bool copy = false;
};

// Tells a range within the region. In time proportional to the pages that were touched and to the
// pieces its kept file is in, not to the range. What changes meanwhile is told as it was at some
// moment of the call. Never waits for a device or a peer. Thread: any that has the region's jobs
// counted.
ProvenanceList TellProvenance(Region& region, Evictor& evictor, const ProvenanceQuestion& asked);

// The same of a region that is only reserved: nothing of it was touched by this process.
// `origin_of` says what its store would (PageStore::OriginOf).
ProvenanceList TellReserved(const std::function<PagesFrom(PageRun)>& origin_of,
                            const ProvenanceQuestion& asked);

}  // namespace farpage
