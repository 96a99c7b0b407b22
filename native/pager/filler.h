// Fills: the blocking part of a fault, on a bounded pool of threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/region.h"
#include "os/thread.h"
#include "pager/evictor.h"
#include "pager/waiter_list.h"

namespace farpage {

// Fill jobs waiting for a thread, at most; beyond it faults are asked to come again.
inline constexpr size_t kFillJobsMax = 65'536;
// Jobs that wait behind each busy thread before another one is woken.
inline constexpr size_t kJobsPerThread = 4;
// Where no thread has taken a job for so long, those that are busy are waited for no longer.
inline constexpr uint64_t kSlowFillNs = 1'000'000;
// Devices that may hold up as many threads as one may have, at most: further ones delay others.
inline constexpr uint32_t kHungDevicesMax = 4;
// Jobs that wait for the threads of one device while they are all busy, at most.
inline constexpr size_t kDeviceJobsMax = kFillJobsMax / 4;
// How long a fill waits for a frame while pages are held or being written back.
inline constexpr uint64_t kFrameWaitNs = 5'000'000'000;
// Looks that find nothing to evict and nothing to wait for, before memory counts as full.
inline constexpr int kHopelessLooks = 3;
// Pages out of a tier in memory that are put into region memory together, by one system call: who
// waits for one of them waits for the others, some 30 us.
inline constexpr uint64_t kTakenTogether = 16;
// Runs of up to so many come in one by one: without a second copy that is as fast.
inline constexpr uint64_t kTakenSinglyMax = 4;
// Frames one eviction frees beyond what is needed now, so that not every fill evicts.
inline constexpr uint64_t kEvictionBatchPages = 512;

// Of pages that were taken out of a tier together: how many could not come.
using TakesDone = std::function<void(uint64_t failed_pages)>;

// Takes frames, populates region memory, installs pages, wakes waiters. A run that fails as a
// whole is tried again page by page, so that one bad page does not fail its neighbours. A device
// that does not answer holds as many threads as one may have; what else needs it waits in its own
// line, and fills from other devices have threads beyond those.
class Filler {
 public:
  // `press` asks for dirty pages that may be written behind to be written now; it must not block.
  // `threads` are those that one device may have.
  Filler(FrameBudget& budget, Evictor& evictor, WaiterList& waiters, std::function<void()> press,
         uint32_t threads);
  ~Filler();

  // Queues the fill of a claimed run (every page FILLING by this claim). False: the queue is
  // full, nothing was taken. Who wants to write waits for what the region has written before
  // (HasFilledMemory). Thread: any.
  bool Submit(const std::shared_ptr<Region>& region, PageRun run, bool to_write = false);

  // Makes a claimed page present that was absent and in no tier, and whose frame is taken, with
  // these bytes; it is dirty then. On failure it is still claimed. In a turn.
  Status PutWhole(const std::shared_ptr<Region>& region, PageIndex page,
                  std::span<const std::byte> bytes);

  // The end of one that has failed so.
  void DropWhole(const std::shared_ptr<Region>& region, PageIndex page, Code code);

  // Queues a page that is claimed and was LOST or absent: it is made present with these bytes and
  // dirty, or else again what it was. False: the queue is full, nothing was taken. Thread: any.
  bool SubmitWhole(const std::shared_ptr<Region>& region, PageIndex page, bool was_lost,
                   std::vector<std::byte> bytes);

  // Gives up such a claim: the page is LOST as before and its waiters hear `code`.
  void LoseAgain(const std::shared_ptr<Region>& region, PageIndex page, Code code);

  // Fills a claimed run whose frames are taken, each part as its origin asks: on the calling
  // thread, or started at a peer; with `waits`, what is in a tier is there or given up at the end.
  // Thread: any that may wait for a device.
  void FillByOrigin(const std::shared_ptr<Region>& region, PageRun run, bool waits = false);

  // Starts the fill of a claimed run of the origin kRemote whose frames are taken. Thread: any.
  void FillElsewhere(const std::shared_ptr<Region>& region, PageRun run);

  // Fills a claimed run of another origin, whose frames are taken, on the calling thread, for who
  // reads it or (`to_write`) writes it next. Thread: any.
  Status FillNow(const std::shared_ptr<Region>& region, PageRun run, bool to_write = false);

  // Claims absent pages from the start of `run` on; how many. None also while the tables of its
  // window are given back (TablePages::IsClosed): soon then. Thread: any.
  static uint64_t Claim(Region& region, PageRun run);

  // Makes a claimed run present whose bytes have come, with `flags` beside the usual ones, and
  // wakes who waits.
  void Install(const std::shared_ptr<Region>& region, PageRun run, PageWord flags = 0);

  // Makes pages present again that were being copied (COPYING), with `flags` beside theirs, and
  // wakes who waits.
  void Release(const std::shared_ptr<Region>& region, PageRun run, PageWord flags);

  enum class FromOverlay : uint8_t {
    kInPlace,  // only what takes microseconds; stops at the first page that does not: kUnsupported
    kStarted,  // waits for devices; what a peer has is asked for, and comes later
    kWaiting,  // waits for peers too
  };
  // Fills a claimed run of pages that are in the region's overlay and whose frames are taken.
  // Returns how many pages are not this caller's any more. Thread: any; any that may wait for a
  // device, unless it is in place.
  uint64_t FillFromOverlay(const std::shared_ptr<Region>& region, PageRun run, FromOverlay how,
                           Status* status) {
    return FillFromOverlay(region, run, how, status, nullptr);
  }
  // The same, started; `done` is called once, on any thread, when each page is there or was given
  // up, and must not wait.
  void TakeFromOverlay(const std::shared_ptr<Region>& region, PageRun run, TakesDone done);

  // Gives up a claimed run: its pages are absent again and their waiters hear `code`.
  void GiveUp(const std::shared_ptr<Region>& region, PageRun run, Code code);

  // Takes frames of the region and of the budget, or neither. Thread: any.
  static bool TryTakeFrames(Region& region, FrameBudget& budget, uint64_t frames);
  static void ReturnFrames(Region& region, FrameBudget& budget, uint64_t frames);

  // Wakes another thread if fills are queued, or starts one: who waits says that the busy ones are
  // slow.
  void Nudge();

  // Ends the threads; queued fills end with kClosed. Idempotent.
  void Close();

  [[nodiscard]] uint64_t queued() const { return queued_.load(std::memory_order_relaxed); }

 private:
  struct Job {
    std::shared_ptr<Region> region;
    PageRun run;
    std::vector<std::byte> whole = {};  // of one page; empty: they come from where they come from
    bool to_write = false;
    uint64_t device = 0;    // that its bytes come from
    bool was_lost = false;  // the whole page
  };
  // Of a device that threads are busy with, or were. Guarded by the lock.
  struct Line {
    uint64_t device;
    uint32_t busy = 0;
    std::deque<Job> waiting = {};  // until one of these threads is free
  };
  static uint64_t DeviceOf(const Region& region, PageIndex page);
  bool Queue(Job job);
  // The rest requires the lock.
  void AddThread();
  // Threads that have had their job for a short time only.
  [[nodiscard]] size_t Moving(uint64_t now) const;
  Line* FindLine(uint64_t device);
  Line& LineOf(uint64_t device);
  // The first job whose device has a thread left for it; those before it step into their line.
  bool TakeJob(Job* job);
  // One of that device ended: the next one in its line may come.
  void EndJob(uint64_t device);
  void GiveUp(const Job& job, Code code);
  void Loop(size_t number);
  void Fill(const Job& job);
  void FillWhole(const Job& job);
  static Status PlaceWhole(const Region& region, PageIndex page, std::span<const std::byte> bytes);
  // Makes a claimed run present and wakes who waits.
  void MakePresent(const std::shared_ptr<Region>& region, PageRun run, PageWord flags);
  // False: more than the bound ever holds. `full`: nothing went, and dirty pages alone leave no
  // room for as many.
  // `patient`: where what the region itself has written fills memory, that is waited for.
  bool EvictForFrames(Region& region, uint64_t frames, bool patient, EvictionResult* result,
                      bool* full);
  Code WaitForFrame(Region& region, bool to_write);
  // fill_from_overlay.cc
  struct Takes;
  uint64_t FillFromOverlay(const std::shared_ptr<Region>& region, PageRun run, FromOverlay how,
                           Status* status, const std::shared_ptr<Takes>& takes);
  uint64_t TakeFromMemory(const std::shared_ptr<Region>& region, PageRun run, Takes* takes);
  void PutTogether(const std::shared_ptr<Region>& region, PageRun run, const std::byte* bytes,
                   Takes* takes);
  bool StartTake(const std::shared_ptr<Region>& region, PageIndex page,
                 const std::shared_ptr<Takes>& takes);
  void FailTake(const std::shared_ptr<Region>& region, PageIndex page, Code code);
  void LoseElsewhere(const std::shared_ptr<Region>& region, PageIndex page);

  FrameBudget& budget_;
  Evictor& evictor_;
  WaiterList& waiters_;
  const std::function<void()> press_;
  std::mutex mutex_;  // guards what follows: the cold path, a few instructions
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::vector<Line> lines_;
  uint32_t idle_ = 0;
  const uint32_t device_threads_;
  std::atomic<bool> closing_{false};
  std::atomic<uint64_t> queued_{0};
  std::vector<uint64_t> took_ns_;  // when each thread took the job that it has; 0: none
  std::vector<Thread> threads_;
};

}  // namespace farpage
