// Presence and permission indicators of whole ranges, as the region access unit sets and clears
// them: the page words are all that the fabric looks at.
#pragma once

#include <cstdint>
#include <memory>

#include "memory/region.h"
#include "memory/reservation.h"
#include "memory/shootdown.h"
#include "pager/evictor.h"
#include "pager/write_back.h"

namespace farpage {

// What becomes of dirty pages of a range that is to be forgotten.
enum class DirtyRule : uint8_t {
  kRefuse,   // nothing is done while there are any
  kKeep,     // they stay, the others go
  kDiscard,  // they go too, and with them what was written since the last write-back
};

struct Invalidation {
  uint64_t pages = 0;        // that are absent now and were not
  uint64_t dirty_pages = 0;  // that stay, or for which it was refused
  uint64_t pinned_pages = 0; // that stay because they are pinned
  uint64_t busy_pages = 0;   // that were still on their way in or out at the deadline
  uint64_t shootdown_ns = 0; // until the fabric had forgotten them
};

// How long an invalidation waits for fills that had begun before it: longer than any fill takes.
inline constexpr uint64_t kInvalidateWaitNs = 15'000'000'000;

// Thread: any that may block, with the region's jobs counted.
class Indicators {
 public:
  Indicators(Shootdown& shootdown, Evictor& evictor)
      : shootdown_(shootdown), evictor_(evictor) {}

  // Permits accesses to a run and no others. When it returns, none that it forbids is under way
  // or can begin; what is dirty stays so and is still written back. In time proportional to the
  // present pages of the run. Fails: kQuota (kProtectedRangesMax), with nothing changed.
  Status Protect(Region& region, PageRun run, Permission permission);
  // The same where the region may only be reserved; it is not allocated by that.
  Status Protect(const Reservation& reservation, PageRun run, Permission permission);

  // Makes the pages of a run absent, so that the next touch fills them again; also those whose
  // fill had begun. With kDiscard pages that are LOST are well again. One grace period, one system
  // call for each run of neighbours.
  Invalidation Invalidate(const std::shared_ptr<Region>& region, PageRun run, DirtyRule rule);

  // Gives the memory of a run back, as far as nobody needs it at the moment: pages that are held
  // for a waiter, or on their way in or out, stay. Waits for nothing but one grace period.
  Invalidation Reclaim(const std::shared_ptr<Region>& region, PageRun run, DirtyRule rule);

 private:
  void Enforce(Region& region, PageRun run);
  EvictionResult Sweep(const std::shared_ptr<Region>& region, std::span<const PageRun> runs,
                       DirtyRule rule, std::vector<PageRun>* busy);

  Shootdown& shootdown_;
  Evictor& evictor_;
};

}  // namespace farpage
