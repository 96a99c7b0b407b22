// Eviction: the clock hand over present pages, in batches.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/frame_budget.h"
#include "memory/region.h"
#include "memory/shootdown.h"
#include "pager/waiter_list.h"

namespace farpage {

// What a sweep found.
struct EvictionResult {
  uint64_t evicted_pages = 0;
  // Pages whose bytes were written to their store without durability.
  uint64_t unsynced_pages = 0;
  // Pages that stay until somebody writes them back or makes them durable, these among them.
  uint64_t dirty_pages = 0;
  // Dirty pages that went into the overlay of their region, and those that found no room there.
  uint64_t spilled_pages = 0;
  uint64_t refused_pages = 0;
};

// Dirty pages that one sweep hands to overlays, at most: a fill waits for them.
inline constexpr uint64_t kSpillPagesMax = 256;

// Drops clean pages that were not used since the hand last passed. One sweep, one grace period.
// Thread: any but fabric threads; sweeps take turns under a lock, because two hands would only
// evict each other's second chances.
class Evictor {
 public:
  Evictor(Shootdown& shootdown, FrameBudget& budget, WaiterList& waiters)
      : shootdown_(shootdown), budget_(budget), waiters_(waiters) {}

  void Add(std::shared_ptr<Region> region);
  void Remove(const Region* region);

  // Evicts up to `pages` from all regions, or from `only`.
  EvictionResult Evict(uint64_t pages, const Region* only = nullptr);

  // Evicts every clean page of a run, used or not; with `spare_used`, not those that were used
  // since the hand last passed.
  EvictionResult Reclaim(const std::shared_ptr<Region>& region, PageRun run,
                         bool spare_used = false);

  // The same, and dirty pages go into the overlay as far as the region has one.
  EvictionResult Demote(const std::shared_ptr<Region>& region, PageRun run);

  [[nodiscard]] uint64_t evicted_pages() const {
    return evicted_.load(std::memory_order_relaxed);
  }
  // The regions there are now.
  std::vector<std::shared_ptr<Region>> Regions();

 private:
  struct Victims {
    std::shared_ptr<Region> region;
    std::vector<PageRun> runs;
    uint64_t pages = 0;
  };
  // Claims victims of one chunk; `force` ignores ACCESSED.
  void Collect(Region& region, PageRun within, uint64_t pages_max, bool force, Victims* victims,
               EvictionResult* result);
  void Drop(Victims& victims);
  // Claims dirty pages of regions with an overlay, waits one grace period and moves them there.
  void Spill(const std::vector<std::shared_ptr<Region>>& regions, uint64_t pages,
             EvictionResult* result);
  void CollectDirty(Region& region, PageRun within, uint64_t pages_max, bool force,
                    Victims* victims);
  void Move(Victims& victims, EvictionResult* result);
  void TidyChunks(Region& region, const std::vector<PageRun>& runs);

  Shootdown& shootdown_;
  FrameBudget& budget_;
  WaiterList& waiters_;
  std::mutex mutex_;          // held for a whole sweep
  std::mutex regions_mutex_;  // guards regions_ alone
  std::vector<std::shared_ptr<Region>> regions_;
  size_t hand_region_ = 0;
  uint64_t hand_chunk_ = 0;
  size_t spill_region_ = 0;  // the hand over dirty pages
  uint64_t spill_chunk_ = 0;
  std::atomic<uint64_t> evicted_{0};
};

}  // namespace farpage
