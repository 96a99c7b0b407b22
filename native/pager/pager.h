// The pager: makes absent pages present, keeps the budget, writes dirty pages back.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "memory/fault_handler.h"
#include "memory/region.h"
#include "memory/shootdown.h"
#include "pager/atomic_sync.h"
#include "pager/evictor.h"
#include "pager/filler.h"
#include "pager/indicators.h"
#include "pager/pager_marks.h"
#include "pager/pinning.h"
#include "pager/polled_fills.h"
#include "pager/prefetcher.h"
#include "pager/region_allocator.h"
#include "pager/write_back.h"
#include "pager/working_set.h"
#include "stores/tier_stack.h"
#include "pager/write_hints.h"

namespace farpage {

// Pages one fault fills on the thread that met it, at most: as many as the kernel maps around a
// fault, and what bounds the turn of a fabric thread.
inline constexpr uint64_t kInPlacePagesMax = 16;
// A stream's first read-ahead window; it doubles up to the option.
inline constexpr uint32_t kFirstWindowPages = 8;
// Accesses of a strided one that are read ahead at first, and at most; no more than the option.
inline constexpr uint32_t kFirstStrideSteps = 2;
inline constexpr uint32_t kStrideStepsMax = 64;

// Owns its threads (fill-N, writeback, reclaim) and orders their work. One pager serves many
// regions and any number of front doors. Thread: any, unless a method says otherwise.
class Pager final : public FaultHandler {
 public:
  struct Options {
    uint64_t frames_max = 0;
    uint32_t fill_threads = 16;  // of one device
    uint32_t read_ahead_pages_max = 64;
    // Bytes of allocated regions together, at most: the overcommit that is allowed.
    uint64_t allocated_bytes_max = AllocationAccount::kUnbounded;
    // Bytes of ranges of addresses together, beyond which idle regions give theirs back.
    uint64_t mapped_bytes_max = kMappedBytesMax;
    uint64_t use_tick_ns = kUseTickNs;
  };
  explicit Pager(const Options& options);
  ~Pager() override;

  std::unique_ptr<FillQueue> OpenFillQueue() override {
    return std::make_unique<PolledFills>(filler_, budget_);
  }
  FaultOutcome Fault(const std::shared_ptr<Region>& region, PageRun run, FaultKind kind,
                     FaultWaiter* waiter, uint64_t token, ReadAheadStream* stream,
                     FillQueue* fills) override;
  const std::byte* Lend(const std::shared_ptr<Region>& region, PageIndex page) override;
  void Settle(const std::shared_ptr<Region>& region, PageIndex page) override;
  // Returns when every page of the region that was answered before the call is initialised too.
  // Not in a turn.
  void AwaitLent(const Region& region) { evictor_.AwaitLent(region); }
  void Advance(const std::shared_ptr<Region>& region, PageIndex page,
               ReadAheadStream* stream) override;
  void Lose(const std::shared_ptr<Region>& region, PageRun run) override;
  [[nodiscard]] bool TakesWhole(const Region& region, PageIndex page) const override;
  FaultOutcome Overwrite(const std::shared_ptr<Region>& region, PageIndex page,
                         std::span<const std::byte> bytes, FaultWaiter* waiter,
                         uint64_t token) override;
  void Nudge() override { filler_.Nudge(); }
  FaultOutcome Reach(const std::shared_ptr<Reservation>& reservation, FaultWaiter* waiter,
                     uint64_t token) override {
    return allocator_.Want(reservation, waiter, token);
  }
  void Forget(FaultWaiter* waiter) override {
    waiters_.Forget(waiter);
    allocator_.Forget(waiter);
  }

  // Where dirty pages of the regions added from now on go when memory is short. Regions whose
  // memory outlives the process stay there: what a tier holds does not.
  void UseTiers(std::shared_ptr<TierStack> tiers) { tiers_ = std::move(tiers); }
  [[nodiscard]] const TierStack* tiers() const { return tiers_.get(); }

  // Pages that it has already (adopted from a memory directory) are taken from the budget, beyond
  // its bound if need be; eviction brings it back below.
  void AddRegion(std::shared_ptr<Region> region);
  // Takes frames, beyond the bound if need be, that memory of a region fills which an earlier
  // process has left, and nobody has opened: AddRegion takes them over. Thread: any.
  void ChargeFound(uint64_t pages) {
    budget_.Take(pages);
    WakeReclaim();
  }
  // That memory was deleted unopened.
  void ReturnFound(uint64_t pages) { budget_.Return(pages); }
  // Ends the pager's work on a region: no thread of its touches it when this returns. The fabric
  // must have let go of it before (deregister, grace period). Its memory is unmapped and its
  // store closed then. Not in a turn.
  void RemoveRegion(const std::shared_ptr<Region>& region);

  // Allocates the region of a reservation now, unless it is. Not in a turn. Fails: kQuota, and as
  // the system says.
  Status Allocate(const std::shared_ptr<Reservation>& reservation) {
    return allocator_.Allocate(reservation);
  }
  // Ends a reservation: its STags, its region if it has one, and what it was charged. Not in a
  // turn.
  void EndReservation(const std::shared_ptr<Reservation>& reservation);

  // What every allocation is charged to; sessions have accounts below it.
  [[nodiscard]] const std::shared_ptr<AllocationAccount>& account() const { return account_; }

  // Evicts the clean pages of a run; returns how many went. Blocks for one grace period.
  uint64_t Reclaim(const std::shared_ptr<Region>& region, PageRun run) {
    return evictor_.Reclaim(region, run).evicted_pages;
  }

  // The same, and dirty pages go into the region's overlay, if it has one. With `age_ns` only
  // those that nobody has used for so long, rounded up to ticks, AgeMaxNs() at most. Blocks for
  // its devices.
  EvictionResult Demote(const std::shared_ptr<Region>& region, PageRun run, uint64_t age_ns = 0) {
    const uint64_t ticks = age_ns == 0 ? 0 : ColdTicks(age_ns, use_tick_ns_);
    return evictor_.Demote(region, run, {static_cast<uint32_t>(ticks), use_clock_.Now()});
  }
  // The pages that were used within so many milliseconds, rounded up to ticks.
  WorkingSet WorkingSetOf(Region& region, uint64_t within_ms) {
    AwaitLent(region);
    const uint64_t tick_ms = std::max<uint64_t>(use_tick_ns_ / 1'000'000, 1);
    const uint64_t ticks = within_ms / tick_ms + (within_ms % tick_ms == 0 ? 0 : 1);
    const auto known = static_cast<uint32_t>(std::min<uint64_t>(ticks, kUseTicks));
    return FindWorkingSet(region, evictor_, use_clock_.Now(), known);
  }
  // How finely and how far back it is known when pages were used.
  [[nodiscard]] uint64_t use_tick_ns() const { return use_tick_ns_; }
  [[nodiscard]] uint64_t AgeMaxNs() const { return (kAgeTicksMax - 1) * use_tick_ns_; }
  // The use clock goes on by one tick; a thread of its own does that. Thread: any but fabric's.
  void TickUses() {
    if (use_clock_.Advance()) evictor_.SweepAges(use_clock_.Now());
  }

  // Brings pages of a run back from the overlay as far as there are frames for them; how many came.
  // Blocks for devices and, as long as those may take, for peers.
  uint64_t Promote(const std::shared_ptr<Region>& region, PageRun run);

  [[nodiscard]] const RegionAllocator& allocator() const { return allocator_; }
  WriteBack& write_back() { return write_back_; }
  AtomicSync& atomic_sync() { return atomic_sync_; }
  Indicators& indicators() { return indicators_; }
  Pinning& pinning() { return pinning_; }
  Evictor& evictor() { return evictor_; }
  Shootdown& shootdown() { return shootdown_; }
  [[nodiscard]] const FrameBudget& budget() const { return budget_; }
  [[nodiscard]] uint64_t queued_faults() const { return filler_.queued(); }
  // Brings pages near before anybody asks for them.
  Prefetcher& prefetcher() { return prefetcher_; }
  [[nodiscard]] uint64_t evicted_pages() const { return evictor_.evicted_pages(); }

  // Joins every thread. Idempotent. Fills that wait end with kClosed.
  void Close();

 private:
  enum class Step : uint8_t { kReady, kAgain, kPending, kFailed };
  Step Resolve(const std::shared_ptr<Region>& region, PageRun rest, FaultKind kind,
               FaultWaiter* waiter, uint64_t token, PolledFills* fills,
               uint64_t* in_place_left, Code* code);
  FaultOutcome OverwriteAbsent(const std::shared_ptr<Region>& region, PageIndex page,
                               std::span<const std::byte> bytes, FaultWaiter* waiter,
                               uint64_t token);
  [[nodiscard]] bool WouldStick(const Region& region) const;
  bool LacksTables(Region& region, PageIndex page);
  bool HandOver(const std::shared_ptr<Region>& region, PageRun run, bool to_write,
                PolledFills* fills);
  bool HandOverPart(const std::shared_ptr<Region>& region, PageRun run, bool to_write,
                    PageOrigin origin, PolledFills* fills);
  uint64_t FillInPlace(const std::shared_ptr<Region>& region, PageRun claimed, FaultKind kind,
                       uint64_t* in_place_left);
  uint64_t TakeInPlace(const std::shared_ptr<Region>& region, PageRun run,
                       uint64_t* in_place_left);
  bool Await(Region& region, PageIndex page, FaultKind kind, FaultWaiter* waiter,
             uint64_t token);
  void Follow(const std::shared_ptr<Region>& region, PageRun run, bool cold,
              ReadAheadStream* stream);
  [[nodiscard]] uint32_t ReadAheadMax(const Region& region) const;
  void FollowStride(const std::shared_ptr<Region>& region, PageRun run, ReadAheadStream* stream);
  void AdvanceStride(const std::shared_ptr<Region>& region, ReadAheadStream* stream);
  static uint64_t ClaimAhead(Region& region, PageRun run);
  static void MarkAhead(Region& region, PageIndex page);
  void WakeReclaim();
  void Press();
  void ReclaimLoop();
  void ClockLoop();
  void WriteBehind();

  std::shared_ptr<TierStack> tiers_;  // outlives the regions that are in it
  Shootdown shootdown_;
  const std::shared_ptr<FrameBudget> shared_budget_;  // with what the tiers keep of regions
  FrameBudget& budget_;
  const uint32_t read_ahead_pages_max_;
  const uint64_t use_tick_ns_;
  UseClock use_clock_;
  WaiterList waiters_;
  Evictor evictor_;
  WriteBack write_back_;
  AtomicSync atomic_sync_;
  WriteHints write_hints_;
  Indicators indicators_;
  Pinning pinning_;
  Filler filler_;
  Prefetcher prefetcher_;
  std::mutex reclaim_mutex_;  // guards closing_; the condition variable needs one
  std::condition_variable reclaim_wake_;
  std::condition_variable clock_wake_;
  bool closing_ = false;
  std::atomic<bool> reclaim_asked_{false};
  std::atomic<bool> urged_{false};  // to go on without a rest
  // A sweep has found tables that leave no room, and nothing that would make them go.
  std::atomic<bool> full_of_tables_{false};
  std::atomic<bool> pressed_{false};  // fills wait for dirty pages to become clean
  const std::shared_ptr<AllocationAccount> account_;
  RegionAllocator allocator_;
  Thread reclaim_;
  Thread clock_;
};

}  // namespace farpage
