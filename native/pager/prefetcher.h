// Prefetch: pages brought near before anybody asks for them, behind everybody who does.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/frame_budget.h"
#include "memory/region.h"
#include "pager/evictor.h"
#include "pager/filler.h"
#include "pager/prefetch_lanes.h"
#include "pager/pull_batch.h"
#include "pager/write_back.h"

namespace farpage {

// Pages claimed and read at once, and those on their way at most: whoever touches one of them
// waits for no more than that.
inline constexpr uint64_t kPrefetchRunPages = 64;
inline constexpr uint64_t kPrefetchFlightPages = 256;
// The same while others wait for pages: one small run, or as many pages in single ones, and a rest.
inline constexpr uint64_t kPoliteRunPages = 16;
inline constexpr uint64_t kPoliteRestNs = 1'000'000;
// How long after a fault of somebody else that lasts.
inline constexpr uint64_t kPoliteNs = 10'000'000;
// Pulled pages that are made durable together, while more come; twice as many wait for that at
// most.
inline constexpr uint64_t kPullBatchPages = 8192;
// Buffers that are kept for the next runs to be read into.
inline constexpr size_t kIdleBuffersMax =
    kPrefetchFlightPages / kPrefetchRunPages + 2 * kPullBatchRuns;
// Pages of one region whose reads were abandoned and have not ended, at most: more are read when
// some have.
inline constexpr uint64_t kAbandonedPagesMax = 4 * kPrefetchFlightPages;
// How often a pull goes over its range again for pages that were on their way as it passed, and
// the rest before each.
inline constexpr uint32_t kPullPassesMax = 500;
inline constexpr uint64_t kPullRestNs = 20'000'000;
// How long a pull waits for frames that others hold.
inline constexpr uint64_t kStarvedNs = 5'000'000'000;
// Pages that are here already, passed in one step.
inline constexpr uint64_t kPassedPagesMax = 4096;
// Of many ranges: how many of the next ones the device is told of.
inline constexpr size_t kRangesAhead = 32;
// How far a prefetch is, or was at its end.
struct PrefetchReport {
  uint64_t pages = 0;         // of its range
  uint64_t passed_pages = 0;  // that it has come past
  uint64_t filled_pages = 0;  // that it brought itself
  bool full = false;          // it ended early: bringing more would have pushed out others
  Status outcome;             // kAborted when it was cancelled
};
using PrefetchDone = std::function<void(const PrefetchReport&)>;

// A claimed run that is being read: until its bytes have come, or nobody wants them any more.
struct PrefetchFlight {
  enum class State : uint8_t { kFlying, kCome, kAbandoned };
  PageRun run;
  std::atomic<State> state{State::kFlying};
};

// One prefetch. The fields below the blank line are its thread's own.
struct Prefetch {
  std::shared_ptr<Region> region;
  PageRun range;  // of many the one under way
  uint64_t pages = 0;  // of all
  PrefetchDone done;
  std::atomic<bool> cancelled{false};
  std::atomic<uint64_t> passed_pages{0};
  std::atomic<uint64_t> filled_pages{0};
  std::atomic<uint64_t> flying_pages{0};
  std::atomic<uint64_t> failed_pages{0};
  std::deque<ArrivedRun> arrived;  // guarded by the prefetcher's lock
  std::atomic<bool> flushing{false};
  std::atomic<bool> full{false};
  std::atomic<Code> failure{Code::kOk};

  std::vector<std::shared_ptr<PrefetchFlight>> flights;
  std::array<PullBatch, 2> batches;  // one is filled while the other is written
  size_t batch = 0;                  // the one to be filled
  std::vector<PageRun> rest;      // ranges to come, the next one last
  size_t told = 0;                // from here on in `rest` the device is told of them
  uint64_t passed_before = 0;     // pages of the ranges before
  PageIndex at = 0;
  PageOrigin origin = PageOrigin::kFile;  // of the pages up to `origin_end`, as last seen
  PageIndex origin_end = 0;
  bool pulls = false;      // its store keeps what was pulled
  bool settled = false;    // the last write-back of this pass was begun
  uint32_t passes = 0;
  uint64_t unflushed_pages = 0;
  PageIndex recycled_to = 0;
  uint64_t demands = 0;    // as last seen
  uint64_t demand_ns = 0;  // when they last grew
  uint64_t started_ns = 0;   // the first run since the last rest,
  uint64_t begun_pages = 0;  // and the pages of all since then
  uint64_t rest_until_ns = 0;
  uint64_t starved_ns = 0;
};

// Brings absent pages of a range into memory, in large runs, not ACCESSED: who uses none of them
// sees them go first. It takes free frames and evicts nothing for them; when they are used up it
// ends early (`full`). Pages from elsewhere are read into buffers that are used again, because to
// commit fresh memory and fill it later takes twice as long. A *pull*, of pages from elsewhere
// under a store that keeps what it pulls, writes them to that store from there (PullBatch) and
// installs them UNSYNCED (or DIRTY, for write-back to put them there), and ends when the store has
// every page; it recycles its own frames when there are no others. Of an atomic region it writes no
// dirty page: the next sync does, and the pull does not wait for it. Pages that somebody writes
// meanwhile are never overwritten: only absent pages are claimed, and clean ones of an atomic
// region, and the claim is asked for its origin again. Threads: PrefetchLanes.
class Prefetcher {
 public:
  // `reclaim` asks for eviction down to the low mark; it must not block.
  Prefetcher(FrameBudget& budget, Evictor& evictor, Filler& filler, WriteBack& write_back,
             std::function<void()> reclaim)
      : budget_(budget),
        evictor_(evictor),
        filler_(filler),
        write_back_(write_back),
        reclaim_(std::move(reclaim)),
        lanes_([this](const auto& job) { return TakeFurther(job); },
               [](const auto& job) { End(job); }) {}
  ~Prefetcher() { Close(); }

  // Begins; `done` is called once, on any thread. Thread: any but fabric threads.
  std::shared_ptr<Prefetch> Begin(std::shared_ptr<Region> region, PageRun range,
                                  PrefetchDone done);
  // The same of many ranges, one after the other in this order, and nothing is kept for good that
  // comes from elsewhere: this warms memory.
  std::shared_ptr<Prefetch> Begin(std::shared_ptr<Region> region, std::vector<PageRun> ranges,
                                  PrefetchDone done);
  // Ends it soon, with kAborted unless it has ended: it waits for no source, and for a tier as long
  // as that answers or says that it is away. What it brought stays.
  void Cancel(Prefetch& prefetch);
  static PrefetchReport Report(const Prefetch& prefetch);

  // Pages of `run` that only a source elsewhere has, in time proportional to the runs of its
  // store. Thread: any that may wait.
  static uint64_t NeededPages(const Region& region, PageRun run);

  // Ends every prefetch with kClosed, then the threads. Idempotent.
  void Close();

 private:
  using Next = PrefetchStep;
  Next TakeFurther(const std::shared_ptr<Prefetch>& job);
  static void End(const std::shared_ptr<Prefetch>& job);
  Next Step(const std::shared_ptr<Prefetch>& job);
  Next StepOver(const std::shared_ptr<Prefetch>& job);
  Next BeginRun(const std::shared_ptr<Prefetch>& job);
  Next StartRun(const std::shared_ptr<Prefetch>& job, PageRun run);
  // pull.cc: pages from elsewhere
  void Take(const std::shared_ptr<Prefetch>& job, PageRun run);
  void Ask(const std::shared_ptr<Prefetch>& job, PageRun run);
  bool Land(const std::shared_ptr<Prefetch>& job);
  void Abandon(Prefetch& job);
  void Place(Prefetch& job, ArrivedRun arrived);
  void Recycle(ArrivedRun arrived);
  // pull_store.cc: on their way into the store that keeps them
  void Keep(Prefetch& job, ArrivedRun arrived);
  bool KeepHere(Prefetch& job);
  static bool KeepsAll(const Prefetch& job);
  void Settle(Prefetch& job, PullBatch& batch);
  bool Settle(Prefetch& job);
  void GiveBack(Prefetch& job, PageRun run);
  static void DoubtFailed(Region& region, const PulledRun& pulled);
  uint64_t FreeFrames(const Prefetch& job, bool pull) const;
  Next NoRoom(const std::shared_ptr<Prefetch>& job, uint64_t frames);
  std::shared_ptr<Prefetch> Start(std::shared_ptr<Prefetch> job);
  static bool NextRange(Prefetch& job);
  Next EndPass(const std::shared_ptr<Prefetch>& job);
  bool IsPolite(Prefetch& job, uint64_t now);
  void Flush(const std::shared_ptr<Prefetch>& job);
  void Fail(Prefetch& job, Code code);

  FrameBudget& budget_;
  Evictor& evictor_;
  Filler& filler_;
  WriteBack& write_back_;
  const std::function<void()> reclaim_;
  std::atomic<bool> closing_{false};
  std::mutex buffers_mutex_;  // guards idle_buffers_
  std::vector<std::shared_ptr<std::byte[]>> idle_buffers_;
  PrefetchLanes lanes_;
};

}  // namespace farpage
