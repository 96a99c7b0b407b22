// Tiers in order, and what each region keeps in them.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "memory/frame_budget.h"
#include "memory/page_overlay.h"
#include "memory/page_table.h"
#include "os/mapping.h"
#include "os/thread.h"
#include "memory/tier.h"
#include "stores/tier_writers.h"

namespace farpage {

// Tiers of one appliance, at most.
inline constexpr size_t kTiersMax = 8;
// Pages that move from one tier to the next in one go.
inline constexpr size_t kDemoteBatchPages = 64;
// A tier is demoted from at this part of its capacity, down to the other one: in sixteenths.
inline constexpr uint64_t kTierHighMark = 15;
inline constexpr uint64_t kTierLowMark = 14;

class TierStack;

// What one tier did since it was made.
struct TierStats {
  uint64_t stored_pages = 0;    // that came in from above
  uint64_t loaded_pages = 0;    // that went up again
  uint64_t demoted_pages = 0;   // that went on to the next tier
  uint64_t lost_pages = 0;      // that came back wrong
};

// The overlay of one region over a stack. An entry per page, in a lazily committed mapping: where
// its bytes are, their checksum, and a version that tells an old move from a new one. Pages of the
// mapping that have entries are charged as tables; one without is given back.
class RegionTiers final : public PageOverlay,
                          public std::enable_shared_from_this<RegionTiers> {
 public:
  ~RegionTiers() override;

  void Store(std::span<OverlayPage> pages) override;
  Status Load(PageIndex page, std::byte* into) override;
  Status Take(PageIndex page, std::byte* into) override;
  Status LoadInPlace(PageIndex page, std::byte* into) override;
  Status TakeInPlace(PageIndex page, std::byte* into) override;
  bool StartTake(PageIndex page, std::byte* into, TierDone done) override;
  [[nodiscard]] uint64_t unreachable_pages() const override;
  [[nodiscard]] uint64_t table_pages() const override {
    return table_pages_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool asks_peers() const override;
  void Forget(PageIndex page) override;
  // Pages that the stack holds of this region; those of one tier.
  [[nodiscard]] uint64_t pages() const {
    return std::accumulate(pages_.begin(), pages_.end(), uint64_t{0});
  }
  [[nodiscard]] uint64_t pages(size_t tier) const {
    return pages_[tier].load(std::memory_order_relaxed);
  }
  // The tier that holds a page, counted from 0; kTiersMax when none does. Thread: any.
  [[nodiscard]] size_t TierOf(PageIndex page) const;

 private:
  friend class TierStack;
  // All zero where no tier has the page.
  struct Entry {
    uint64_t where = 0;  // the slot, and above it the tier, counted from 1
    uint32_t checksum = 0;
    uint32_t version = 0;

    static uint64_t At(size_t tier, TierSlot slot) { return slot | ((tier + 1) << kTierSlotBits); }
    [[nodiscard]] bool none() const { return where == 0; }
    [[nodiscard]] TierSlot slot() const { return where & ((TierSlot{1} << kTierSlotBits) - 1); }
    // Requires !none().
    [[nodiscard]] size_t tier() const { return (where >> kTierSlotBits) - 1; }
  };
  static_assert(sizeof(Entry) == 16);
  static constexpr size_t kLocks = 64;
  using Count = uint16_t;

  RegionTiers(TierStack* stack, Mapping entries, uint64_t pages, Summary held,
              std::shared_ptr<FrameBudget> budget)
      : stack_(stack),
        entries_(std::move(entries)),
        entry_count_(pages),
        held_(std::move(held)),
        budget_(std::move(budget)) {}
  // Pages of entries of a region; a count of each of them comes behind all.
  static uint64_t EntryPages(uint64_t pages) {
    return (pages * sizeof(Entry) + kPageBytes - 1) >> kPageShift;
  }
  [[nodiscard]] Entry& entry(PageIndex page) const {
    return reinterpret_cast<Entry*>(entries_.data())[page];
  }
  [[nodiscard]] Entry Read(PageIndex page) const;
  void Set(PageIndex page, Entry to);
  // Counts entries of a page of the mapping; the last one to go gives it back. Requires the lock of
  // the entry, whose next bytes are `to`.
  void Put(PageIndex page, const Entry& to);
  // One that no entry of this region had before: what is given back forgets its versions.
  uint32_t NextVersion() { return next_version_.fetch_add(1, std::memory_order_relaxed); }
  void Drop(PageIndex page);
  // Reads what `from` says and verifies it.
  Status Fetch(const Entry& from, std::byte* into) const;
  // The same of a page that a tier in memory has, else kUnsupported. Requires its entry's lock.
  Status FetchInPlace(PageIndex page, std::byte* into) const;
  Status Verify(const Entry& from, const std::byte* bytes, Status got) const;
  // Where a page is whose tier is at a peer; false for all others. Such a tier is read without a
  // lock, because that may take as long as the peer pleases: until Unpin, or until it is dropped,
  // the page stays where it is, because its version has changed.
  bool Pin(PageIndex page, Entry* found);
  void Unpin(PageIndex page, const Entry& pinned);
  void EndTake(PageIndex page, const Entry& pinned, const Status& got);
  [[nodiscard]] bool IsAt(PageIndex page, uint32_t version) const {
    return Read(page).version == version;
  }
  // The two halves of a move to the next tier; false: the page is not there any more, or moves.
  bool BeginDemotion(PageIndex page, uint32_t version, std::byte* buffer, Entry* found);
  bool EndDemotion(PageIndex page, const Entry& found, TierSlot slot);

  TierStack* stack_;
  Mapping entries_;
  const uint64_t entry_count_;
  Summary held_;  // chunks that may have entries
  const std::shared_ptr<FrameBudget> budget_;
  std::atomic<uint64_t> table_pages_{0};  // of entries_, charged
  std::atomic<uint32_t> next_version_{1};
  std::array<std::atomic<uint64_t>, kTiersMax> pages_{};
  // Two locks of a page, both of the path of absent pages only. The first is held while the slot
  // of a tier that waits for a device is read or freed, by pager threads alone; the second, always
  // inside, while the entry is looked at or changed and while a slot in memory is used: for
  // microseconds.
  mutable std::array<std::mutex, kLocks> device_locks_;
  mutable std::array<std::mutex, kLocks> entry_locks_;
  // And inside these the locks of counts.
  std::array<std::mutex, kLocks> count_locks_;
};

// Pages come in at the first tier that takes them; what has been longest in a tier goes on to the
// next one when room is needed. Bytes are checksummed when they leave memory and verified when
// they come back. Thread: any.
class TierStack {
 public:
  // `tiers` from the one nearest to memory on; at most kTiersMax. Starts its thread.
  explicit TierStack(std::vector<std::unique_ptr<Tier>> tiers);
  ~TierStack();

  // The overlay of a region of `pages` pages; the stack must outlive it. `budget` is charged with
  // what its entries take; null: nobody is. Fails: kMemoryFull.
  Result<std::shared_ptr<RegionTiers>> Attach(uint64_t pages,
                                              std::shared_ptr<FrameBudget> budget = nullptr);

  [[nodiscard]] size_t size() const { return tiers_.size(); }
  [[nodiscard]] const Tier& tier(size_t index) const { return *tiers_[index]; }
  [[nodiscard]] TierStats stats(size_t index) const;

  // Ends its thread; idempotent. Pages stay where they are.
  void Close();

 private:
  friend class RegionTiers;
  struct Counters {
    std::atomic<uint64_t> stored{0};
    std::atomic<uint64_t> loaded{0};
    std::atomic<uint64_t> demoted{0};
    std::atomic<uint64_t> lost{0};
  };
  // A page in the order in which pages came into a tier; outdated when its version is.
  struct Arrival {
    std::weak_ptr<RegionTiers> region;
    PageIndex page;
    uint32_t version;
  };
  // Arrivals are kept of every tier that has one below.
  struct Level {
    std::mutex mutex;
    std::deque<Arrival> arrivals;
    Counters counters;
    TierWriters writers;
  };
  // Tier::Put, unless the tier waits for a device or a peer that hangs: kTierAway then.
  void Put(size_t tier, std::span<TierPage> pages);
  void Arrive(size_t tier, const std::shared_ptr<RegionTiers>& region, PageIndex page,
              uint32_t version);
  // Drops the arrivals that are outdated once they are the most.
  void Compact(size_t tier);
  // One batch; false when there was nothing to move, or no room for it.
  bool DemoteSome(size_t tier);
  // Wakes the thread when a tier is filled beyond its high mark and has one below.
  void Press(size_t tier);
  void Wake();
  void Loop();

  std::vector<std::unique_ptr<Tier>> tiers_;
  std::array<Level, kTiersMax> levels_;
  std::mutex mutex_;  // for wake_ alone
  std::condition_variable wake_;
  std::atomic<bool> closing_{false};
  std::atomic<bool> pressed_{false};
  Thread thread_;
};

}  // namespace farpage
