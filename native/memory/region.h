// A region: contiguous external memory, its page table, its memory and its store.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "memory/frame_budget.h"
#include "memory/page_overlay.h"
#include "memory/page_table.h"
#include "memory/pins.h"
#include "memory/protection.h"
#include "memory/region_memory.h"
#include "memory/page_store.h"

namespace farpage {

// Threads that count operations of their own; a power of two is not needed.
inline constexpr uint32_t kCounterLanesMax = 16;

// Counters of one fabric thread, written by it alone and read by anybody.
struct alignas(64) OperationCounters {
  std::atomic<uint64_t> bypassed{0};
  std::atomic<uint64_t> faulted{0};
  std::atomic<uint64_t> bytes{0};  // of their payload

  // A plain load and store: the lane has one writer, so no read-modify-write is needed.
  static void Add(std::atomic<uint64_t>& counter, uint64_t value) {
    counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }
};

// Pager's counters, off the hot path.
struct FillCounters {
  std::atomic<uint64_t> filled_pages{0};
  // Pages that were answered and are about to be initialised, by the turn that answered.
  std::atomic<uint64_t> lent_pages{0};
  // Faults that had to wait for a page.
  std::atomic<uint64_t> demands{0};
  // Pages that a prefetch has asked a source for and wants no more; they come all the same.
  std::atomic<uint64_t> abandoned_pages{0};
  std::atomic<uint64_t> written_back_pages{0};
  std::atomic<uint64_t> written_back_bytes{0};
  // How often its store could not be made durable: what was written to it before may be gone.
  std::atomic<uint64_t> failed_syncs{0};
  // Why the last write-back left pages dirty, whoever asked for it; kOk once one has done well.
  std::atomic<Code> write_back_failure{Code::kOk};
};

// The pages of a region whose frozen ones a sync is taking now; none while `end` is 0.
struct FrozenRun {
  std::atomic<PageIndex> first{0};
  std::atomic<PageIndex> end{0};
  std::atomic<uint32_t> member{0};  // the region's place in that sync

  [[nodiscard]] bool Has(PageIndex page) const {
    return page < end.load(std::memory_order_acquire) &&
           page >= first.load(std::memory_order_relaxed);
  }
};

class Region;
class Reservation;

// Gives regions their ranges of addresses, and takes those of idle ones for others.
class RangeKeeper {
 public:
  // The region can be reached when this returns. Not in a turn. Fails: kAddressSpace,
  // kRegionRemoved.
  virtual Status Regain(Region& region) = 0;

 protected:
  ~RangeKeeper() = default;
};

// Everything that the fabric and the pager know of a region. Construction wires the parts;
// no thread starts. The parts are public because this is the meeting place of both rooms.
class Region {
 public:
  struct Options {
    uint64_t size_bytes = 0;
    bool writable = false;
    bool write_behind = false;
    uint64_t frames_max = ~uint64_t{0} >> 1;
    // Its store is written by syncs alone, each wholly or not at all (AtomicSync).
    bool atomic = false;
    // That of its reservation; null for one of its own.
    std::shared_ptr<Protection> protection = nullptr;
  };

  Region(const Options& options, std::unique_ptr<PageTable> page_table,
         std::unique_ptr<PageStore> page_store, std::unique_ptr<RegionMemory> region_memory)
      : size_bytes(options.size_bytes),
        writable(options.writable),
        write_behind(options.write_behind),
        atomic(options.atomic),
        frames(options.frames_max),
        protection(options.protection ? options.protection : std::make_shared<Protection>()),
        table(std::move(page_table)),
        store(std::move(page_store)),
        memory(std::move(region_memory)) {}

  // The word flags of a page that has just been filled, before what `protection` forbids is taken
  // away. Together with Pager::Resolve this is where words get READABLE and WRITABLE.
  [[nodiscard]] PageWord PresentFlags() const {
    const bool freely = writable && !sticks;
    return static_cast<PageWord>(PageState::kPresent) | kReadable | (freely ? kWritable : 0);
  }
  // Bytes of `run` that belong to the region: less at a last, partial page.
  [[nodiscard]] uint64_t BytesIn(PageRun run) const {
    const uint64_t start = run.offset_bytes();
    if (start >= size_bytes) return 0;
    return run.length_bytes() < size_bytes - start ? run.length_bytes() : size_bytes - start;
  }

  // Unmaps the memory and closes the store (and so its locks) now, whoever still holds the
  // object for its page table. Requires: the fabric and the pager have let go of it.
  void Discard() {
    memory.reset();
    store.reset();
    overlay.reset();
  }

  const uint64_t size_bytes;
  const bool writable;
  const bool write_behind;
  const bool atomic;
  FrozenRun frozen;
  FrameBudget frames;  // the region's own bound; the pager has the one over all regions
  std::atomic<uint64_t> evicted_pages{0};
  const std::shared_ptr<Protection> protection;
  // That of its reservation, if it has one. Set before anybody uses the region.
  std::shared_ptr<Pins> pins = std::make_shared<Pins>();
  const std::unique_ptr<PageTable> table;
  // The store before the memory: a mapping uses the store's descriptor and must go first.
  std::unique_ptr<PageStore> store;
  std::unique_ptr<RegionMemory> memory;
  // Where dirty pages go when memory is short; null: they stay. Set before anybody uses the region.
  std::shared_ptr<PageOverlay> overlay;
  // Its dirty pages stay until somebody writes them back, so each first write asks whether they may
  // be more. Set before anybody uses the region.
  bool sticks = false;
  // That its store's file is on (st_dev); 0: it is no file. Set before anybody uses the region.
  uint64_t device = 0;
  std::array<OperationCounters, kCounterLanesMax> operations;
  FillCounters fills;
  std::atomic<bool> removed{false};
  // Jobs of the pager that still use this region; Pager::Close waits for none.
  std::atomic<uint32_t> jobs{0};
  // Held by who brings its pages to its store, and by who wants none to be on their way there.
  std::mutex write_back;
  // Its write-back was begun because memory is short, and has not ended.
  std::atomic<bool> written_behind{false};
  // It was idle and has no range of addresses now; it is never taken from a region with jobs.
  std::atomic<bool> parked{false};
  // Whose region it is and who can give it a range; null for one that is never parked.
  std::weak_ptr<Reservation> reservation;
  RangeKeeper* ranges = nullptr;
};

// A use of a region's bytes by who is in no turn: counted among its jobs, with a range of addresses
// unless `status` says why not.
class RegionUse {
 public:
  explicit RegionUse(Region& region) : region_(region) {
    // Counted in first, and only then asked: who parks says so and then looks.
    region_.jobs.fetch_add(1, std::memory_order_seq_cst);
    if (region_.parked.load(std::memory_order_seq_cst)) status_ = region_.ranges->Regain(region_);
  }
  ~RegionUse() { region_.jobs.fetch_sub(1, std::memory_order_acq_rel); }
  RegionUse(const RegionUse&) = delete;
  RegionUse& operator=(const RegionUse&) = delete;
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  Region& region_;
  Status status_;
};

}  // namespace farpage
