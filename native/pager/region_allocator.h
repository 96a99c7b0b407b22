// Allocation of reserved regions, when they are first touched, and of ranges of addresses.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "memory/fault_handler.h"
#include "memory/reservation.h"
#include "os/thread.h"
#include "pager/address_ranges.h"

namespace farpage {

// The native half of the region access unit. One thread, because what takes long (a file to open,
// a page table of a restart to read) is rare, and an order of events is worth more here than
// speed. Thread: any, unless a method says otherwise.
//
// STags name regions, not addresses: when ranges of addresses run out, idle regions are *parked*.
// Their STags lead nowhere again (one grace period), their ranges are unmapped, and the next touch
// takes another range. Pages, words and store stay as they are.
class RegionAllocator final : public RangeKeeper {
 public:
  struct Options {
    // Makes a region known that has just been allocated.
    std::function<void(std::shared_ptr<Region>)> add;
    // Runs its argument while nobody drops pages of regions.
    std::function<void(const std::function<void()>&)> while_no_sweep;
    uint64_t mapped_bytes_max = kMappedBytesMax;
  };
  explicit RegionAllocator(Options options);
  ~RegionAllocator();

  // As FaultHandler::Reach. A reservation waits in the queue once, and a door once for each of its
  // tokens, however often they ask.
  FaultOutcome Want(const std::shared_ptr<Reservation>& reservation, FaultWaiter* waiter,
                    uint64_t token);

  // Allocates it on the calling thread, unless it is. Not in a turn. Fails: kQuota (an account has
  // no room), kRegionRemoved, and as the system says.
  Status Allocate(const std::shared_ptr<Reservation>& reservation);

  Status Regain(Region& region) override;

  // Who waits hears kRegionRemoved and nothing is allocated any more when this returns; one that
  // is under way is finished first. Not in a turn.
  void End(const std::shared_ptr<Reservation>& reservation);

  // Forgets a waiter that goes away; no Wake comes after this returns.
  void Forget(FaultWaiter* waiter);

  // Joins the thread. Idempotent.
  void Close();

  [[nodiscard]] uint64_t mapped_bytes() const { return ranges_.mapped_bytes(); }
  // Ranges that were taken from idle regions so far.
  [[nodiscard]] uint64_t parked() const { return parked_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    FaultWaiter* waiter;
    uint64_t token;
  };
  void Loop();
  Status MakeReachable(const std::shared_ptr<Reservation>& reservation);
  bool Park(uint64_t bytes);
  bool ParkOne(const std::shared_ptr<Reservation>& reservation);
  void WakeLocked(const std::shared_ptr<Reservation>& reservation, Code code);

  const Options options_;
  std::mutex work_mutex_;  // one allocation at a time; held while files are opened
  AddressRanges ranges_;   // guarded by it
  std::atomic<uint64_t> parked_{0};
  std::mutex mutex_;       // guards the rest and the stages of reservations: a few instructions
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Reservation>> queue_;
  std::unordered_multimap<const Reservation*, Entry> waiters_;
  bool closing_ = false;
  Thread thread_;
};

}  // namespace farpage
