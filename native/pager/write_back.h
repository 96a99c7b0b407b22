// Write-back: dirty pages to their store, and the order that loses none.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/region.h"
#include "memory/shootdown.h"
#include "os/thread.h"
#include "pager/waiter_list.h"

namespace farpage {

struct WriteBackReceipt {
  uint64_t pages_written = 0;
  uint64_t bytes_written = 0;
  uint64_t elapsed_ns = 0;
};
using WriteBackDone = std::function<void(Result<WriteBackReceipt>)>;

// Pages of one grace period, at most: 1 GiB of 4 KiB pages. A larger sync takes several.
inline constexpr uint64_t kWriteBackBatchPages = 262'144;
// Bytes of one image handed to a store, at most.
inline constexpr uint64_t kImageBytesMax = 1u << 20;
// Pages that one batch writes out of the overlay, at most: each needs a buffer meanwhile.
inline constexpr size_t kElsewherePagesMax = 256;
// How long a write-back waits for a page that is on its way into the overlay or out of it.
inline constexpr uint64_t kMovingWaitNs = 10'000'000'000;
// Jobs waiting for the thread, at most; further ones fail with kQuota.
inline constexpr size_t kWriteBackJobsMax = 1024;

// One thread, because syncs of one region must follow one another and the device is the limit.
// DIRTY -> WRITEBACK, one grace period, write, -> UNSYNCED, fdatasync, -> clean; an error at any
// step restores DIRTY. Thread: any may submit; `done` is called on the write-back thread.
class WriteBack {
 public:
  WriteBack(Shootdown& shootdown, WaiterList& waiters, FrameBudget& budget);
  ~WriteBack();

  // Writes back the dirty pages of `run`; with `durable` they are on stable storage at `done`.
  void Submit(std::shared_ptr<Region> region, PageRun run, bool durable, WriteBackDone done);

  // The same on the calling thread; for the pager's own threads.
  Result<WriteBackReceipt> Run(const std::shared_ptr<Region>& region, PageRun run, bool durable);

  // Makes durable what was written before, and writes nothing. On the calling thread.
  Status Harden(const std::shared_ptr<Region>& region);

  // While the lock is held no page is on its way to a store. For a few milliseconds.
  [[nodiscard]] std::unique_lock<std::mutex> Pause() { return std::unique_lock(run_mutex_); }

  // Clears the summary bits of chunks that hold nothing to write any more. In a pause.
  static void TidySummary(PageTable& table, PageRun run);

  // Ends after the jobs that were submitted; idempotent.
  void Close();

 private:
  struct Job {
    std::shared_ptr<Region> region;
    PageRun run;
    bool durable;
    WriteBackDone done;
  };
  struct Batch {
    std::vector<PageRun> writing;    // DIRTY taken, WRITEBACK set
    std::vector<PageRun> unsynced;   // UNSYNCED before this sync
    std::vector<PageRun> written;    // now UNSYNCED by this sync
    std::vector<PageRun> elsewhere;  // in the overlay, claimed by this sync
    uint64_t elsewhere_pages = 0;
    uint64_t pages = 0;
    bool lost = false;               // met a dirty page whose bytes are gone
    bool moving = false;             // met one that did not come to rest
    PageIndex next = 0;              // where the following batch starts
  };
  void Loop();
  Batch Collect(Region& region, PageIndex from, PageIndex end, bool durable);
  // What a sync finds of one page, which it then has claimed.
  enum class Found : uint8_t { kNothing, kHere, kInStore, kInTier, kGone, kMoving };
  // kHere, kInTier: claimed for writing; kInStore: by an earlier flush, not durable yet.
  static Found Take(PageTable& table, PageIndex page, bool durable);
  // write_elsewhere.cc: pages that are in the overlay
  Status WriteElsewhere(const std::shared_ptr<Region>& region, Batch& batch,
                        WriteBackReceipt* receipt);
  void ForgetClean(const std::shared_ptr<Region>& region, const std::vector<PageRun>& runs);
  Status Finish(const std::shared_ptr<Region>& region, const std::vector<Batch>& batches);
  Status WriteBatch(Region& region, Batch& batch, WriteBackReceipt* receipt);
  static void WriteSingly(Region& region, std::vector<PageImage>& images);
  static void Settle(Region& region, const Batch& batch);
  static void Redirty(Region& region);
  void DropPrivateCopies(const std::shared_ptr<Region>& region,
                         const std::vector<PageRun>& runs);

  Shootdown& shootdown_;
  WaiterList& waiters_;
  FrameBudget& budget_;
  std::mutex run_mutex_;  // one write-back at a time, whoever asks
  std::mutex mutex_;      // guards jobs_ and closing_
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool closing_ = false;
  Thread thread_;
};

}  // namespace farpage
