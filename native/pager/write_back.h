// Write-back: dirty pages to their store, and the order that loses none.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/region.h"
#include "memory/shootdown.h"
#include "pager/waiter_list.h"
#include "pager/write_back_lanes.h"

namespace farpage {

// Pages of one grace period, at most: 1 GiB of 4 KiB pages. A larger sync takes several.
inline constexpr uint64_t kWriteBackBatchPages = 262'144;
// Pages whose private copies are dropped at a time: nobody writes them or evicts them meanwhile.
inline constexpr uint64_t kCopyingPagesMax = 512;
// Bytes of one image handed to a store, at most.
inline constexpr uint64_t kImageBytesMax = 1u << 20;
// Pages that one batch writes out of the overlay, at most: each needs a buffer meanwhile.
inline constexpr size_t kElsewherePagesMax = 256;
// How long a write-back waits for a page that is on its way into the overlay or out of it.
inline constexpr uint64_t kMovingWaitNs = 10'000'000'000;
// How long memory pressure waits for what it has begun to write to a device.
inline constexpr uint64_t kBehindWaitNs = 100'000'000;

// DIRTY -> WRITEBACK, one grace period, write, -> UNSYNCED, fdatasync, -> clean; an error at any
// step restores DIRTY. Write-backs of one region follow one another; those of others do not wait
// for a store that waits for a program or a peer, nor for a device that hangs (WriteBackLanes).
// Thread: any may submit; `done` is called on a write-back thread.
class WriteBack {
 public:
  WriteBack(Shootdown& shootdown, WaiterList& waiters, FrameBudget& budget);
  ~WriteBack();

  // Writes back the dirty pages of `run`; with `durable` they are on stable storage at `done`.
  void Submit(std::shared_ptr<Region> region, PageRun run, bool durable, WriteBackDone done);

  // Makes durable what the store was given before and writes nothing, of any region.
  void SubmitHarden(std::shared_ptr<Region> region, WriteBackDone done);

  // The same as Submit on the calling thread, after what is under way for the region.
  Result<WriteBackReceipt> Run(const std::shared_ptr<Region>& region, PageRun run, bool durable);

  // For memory pressure: begins to write all of a region that may be written behind, and to make
  // durable what was written before of any other. Waits for it no longer than kBehindWaitNs, and
  // not at all for a program or a peer. Nothing where a write-back is under way, which makes pages
  // clean by itself.
  void Behind(const std::shared_ptr<Region>& region);

  // While the lock is held no page of the region is on its way to its store. For a few
  // milliseconds.
  [[nodiscard]] static std::unique_lock<std::mutex> Pause(Region& region) {
    return std::unique_lock(region.write_back);
  }

  // Ends after the jobs that were submitted; idempotent.
  void Close() { lanes_.Close(); }

 private:
  struct Batch {
    std::vector<PageRun> writing;    // DIRTY taken, WRITEBACK set
    std::vector<PageRun> unsynced;   // UNSYNCED before this sync
    std::vector<PageRun> written;    // now UNSYNCED by this sync
    std::vector<PageRun> cached;     // of these, what the page cache has by it
    std::vector<PageRun> elsewhere;  // in the overlay, claimed by this sync
    uint64_t elsewhere_pages = 0;
    uint64_t pages = 0;
    bool lost = false;               // met a dirty page whose bytes are gone
    bool moving = false;             // met one that did not come to rest
    bool busy = false;               // ends before one that is on its way
    PageIndex next = 0;              // where the following batch starts
  };
  void Submit(WriteBackJob job);
  Result<WriteBackReceipt> RunHarden(const std::shared_ptr<Region>& region);
  // Requires the region's lock, which Pause takes too.
  Result<WriteBackReceipt> RunLocked(const std::shared_ptr<Region>& region, PageRun run,
                                     bool durable);
  static bool HasUnsynced(Region& region);
  // Requires the region's lock.
  Status Harden(const std::shared_ptr<Region>& region);
  // Ends before a page that is on its way, unless it `waits` and has taken nothing.
  static Batch Collect(Region& region, PageIndex from, PageIndex end, bool durable, bool waits);
  // What a sync finds of one page, which it then has claimed.
  enum class Found : uint8_t { kNothing, kHere, kInStore, kInTier, kGone, kMoving, kBusy };
  // kHere, kInTier: claimed for writing; kInStore: by an earlier flush, not durable yet; kBusy: on
  // its way, which only who `waits` waits for; kMoving: for too long.
  static Found Take(PageTable& table, PageIndex page, bool durable, bool waits);
  // write_elsewhere.cc: pages that are in the overlay
  Status WriteElsewhere(const std::shared_ptr<Region>& region, Batch& batch,
                        WriteBackReceipt* receipt);
  void ForgetClean(const std::shared_ptr<Region>& region, const std::vector<PageRun>& runs);
  Status Finish(const std::shared_ptr<Region>& region, const std::vector<Batch>& batches);
  Status WriteBatch(Region& region, Batch& batch, WriteBackReceipt* receipt);
  static void WriteSingly(Region& region, std::vector<PageImage>& images);
  static void Settle(Region& region, const Batch& batch);
  void DropPrivateCopies(const std::shared_ptr<Region>& region,
                         const std::vector<PageRun>& runs);

  Shootdown& shootdown_;
  WaiterList& waiters_;
  FrameBudget& budget_;
  WriteBackLanes lanes_;
};

}  // namespace farpage
