// Eviction: the clock hands over present pages, in batches.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/page_buffer.h"
#include "memory/frame_budget.h"
#include "memory/region.h"
#include "memory/shootdown.h"
#include "memory/use_clock.h"
#include "pager/waiter_list.h"

namespace farpage {

// What a sweep found.
struct EvictionResult {
  uint64_t evicted_pages = 0;
  // Until no turn could use them any more; what comes then is giving their memory back. Told by
  // sweeps of ranges.
  uint64_t shootdown_ns = 0;
  // Pages whose bytes were written to their store without durability.
  uint64_t unsynced_pages = 0;
  // Pages that stay until somebody writes them back or makes them durable, these among them.
  uint64_t dirty_pages = 0;
  // Dirty pages that went into the overlay of their region, and those that found no room there.
  uint64_t spilled_pages = 0;
  uint64_t refused_pages = 0;
  // Others have pages on their way into overlays: room may come of them.
  bool others_move = false;
  // Pages of the region that is waited for which nobody used: they go when they have been written.
  uint64_t cleaning_pages = 0;
  // Of tables that no page needed any more, before anything was evicted.
  uint64_t table_pages = 0;
  // Pages that would have gone and are pinned.
  uint64_t pinned_pages = 0;
};

// Pages that nobody used for some time. By default all of them.
struct Cold {
  uint32_t ticks = 0;  // of the clock, at least
  PageWord now = 0;    // the clock
  [[nodiscard]] bool Has(PageWord word) const { return AgeTicks(word, now) >= ticks; }
};

// Windows that no page may enter while their tables are freed, at once: some 0.1 ms.
inline constexpr size_t kClosedWindowsMax = 64;

// Dirty pages that one sweep hands to overlays, at most: a fill waits for them. And while overlays
// have no room: enough to find out when there is some.
inline constexpr uint64_t kSpillPagesMax = 256;
inline constexpr uint64_t kSpillProbePages = 4;

// The part of the frames that pages may have which were not used again since they were filled.
inline constexpr uint64_t kTrialPart = 20;

// A page that went, and is wanted again before so many steps of evictions, each of so large a part
// of the frames, needs no trial any more.
inline constexpr uint64_t kGhostStepPart = 10;
inline constexpr uint32_t kGhostSteps = 6;

// How often the hand goes round at most: each time it takes one use away, the last finds victims.
inline constexpr size_t kRoundsMax = kUsesMax + 1;

// Drops clean pages and hands dirty ones to overlays: first the clean ones that were not used again
// since they were filled, down to their share of the frames, then the dirty ones that nobody has
// read, the same, then those whose uses the hand has all taken. So a scan pushes out itself, and so
// does who writes, and not what is used again and again. (S3-FIFO without its queues; measured
// against it in test/bench/README.md.) One sweep, one grace period.
// Thread: any but fabric threads; sweeps take turns under a lock, because two hands would only
// evict each other's second chances.
class Evictor {
 public:
  Evictor(Shootdown& shootdown, FrameBudget& budget, WaiterList& waiters)
      : shootdown_(shootdown), budget_(budget), waiters_(waiters) {}

  void Add(std::shared_ptr<Region> region);
  void Remove(const Region* region);

  // Runs `work` while no sweep is under way.
  void WhileIdle(const std::function<void()>& work) {
    std::lock_guard<std::mutex> sweep(mutex_);
    work();
  }

  // Returns when no sweep is under way that began before, and no page of the region, if there is
  // one, is on its way into its overlay.
  void AwaitRest(const Region* region) {
    if (region == nullptr) return WhileIdle([] {});
    (void)LockAtRest(*region);
  }

  // Evicts up to `pages` from all regions, or from `only`. Dirty pages of a `patient` region which
  // cannot go, because they are still to be written behind or its overlay has no room, count as if
  // they went in their turn: who asks waits for them, and nothing that is in use goes for them.
  EvictionResult Evict(uint64_t pages, const Region* only = nullptr,
                       const Region* patient = nullptr);

  // Evicts every clean page of a run, used or not; with `spare_used`, not those that were used
  // since the hand last passed.
  EvictionResult Reclaim(const std::shared_ptr<Region>& region, PageRun run,
                         bool spare_used = false);

  // Sees to it that no page is so old that its age would begin anew (kAgeTicksMax).
  void SweepAges(PageWord now);

  // Evicts the clean pages of a run that are cold, and the dirty ones of them go into the overlay
  // as far as the region has one.
  EvictionResult Demote(const std::shared_ptr<Region>& region, PageRun run, Cold cold);

  // The same with dirty pages too, as if they had never been written. Requires: no write-back of
  // the region is under way.
  EvictionResult Discard(const std::shared_ptr<Region>& region, PageRun run);

  // The same of runs in order, with pages that are held for a waiter too, who will look again, and
  // those that are pinned: their bytes are not wanted any more.
  // What is on its way in or being copied is added to `busy`: it may become present later.
  EvictionResult Invalidate(const std::shared_ptr<Region>& region, std::span<const PageRun> runs,
                            bool discard, std::vector<PageRun>* busy);

  // Makes the words of present pages of a run say what the region's protection permits. Pages
  // that are installed meanwhile say it by themselves.
  void Enforce(Region& region, PageRun run);

  // The first chunk >= `from` with a page that may be present, or their number. Thread: any.
  uint64_t NextPresent(PageTable& table, uint64_t from) {
    const std::lock_guard<std::mutex> lock(tidy_mutex_);
    return table.present_summary().Next(from);
  }

  // Returns when every page of the region that was answered before the call (FaultHandler::Lend) is
  // initialised. Not in a turn.
  void AwaitLent(const Region& region);

  // The clock that ghosts of a region are stamped with: of its own frames where those are bounded.
  [[nodiscard]] PageWord GhostNow(const Region& region) const {
    const bool own = region.frames.max() < budget_.max();
    const uint64_t frames = own ? region.frames.max() : budget_.max();
    const auto& evicted = own ? region.evicted_pages : evicted_;
    const uint64_t step = std::max<uint64_t>(frames / kGhostStepPart, 1);
    return GhostStamp(evicted.load(std::memory_order_relaxed) / step);
  }

  // Frees what tables fills that failed have left, and lost pages; how many pages they took.
  uint64_t GiveTablesBack();

  [[nodiscard]] uint64_t evicted_pages() const {
    return evicted_.load(std::memory_order_relaxed);
  }
  // The region that has filled memory with what it was given, if there is one, or the most.
  std::shared_ptr<Region> FilledByWriter();
  // The regions there are now.
  std::vector<std::shared_ptr<Region>> Regions();

 private:
  struct Victims {
    std::shared_ptr<Region> region;
    std::vector<PageRun> runs;
    uint64_t pages = 0;
    uint64_t chances = 0;  // pages that lost a use instead
    PageWord stamp = 0;    // when they went; 0: that is not remembered
  };
  // Pages of one region on their way into its overlay.
  struct Moving {
    Victims victims;
    PageBuffer copies;  // of a region without addresses, or that a cut may reach
    std::vector<OverlayPage> pages;
    Status copied;
  };
  // Which clean pages a sweep takes. All but kAll take a use away instead of a page that has one.
  enum class Pick : uint8_t {
    kOnTrial,     // those on trial and nothing else
    kDirtyTrial,  // of them the dirty ones
    kProven,      // those not on trial
    kUnaccessed,  // both
    kNeverUsed,   // both, unless the use that a page was filled for has come
    kAll,         // every one, used or not
  };
  // Where a hand goes on: no page loses two uses in one of its rounds. There are two: looking for
  // the few pages on trial moves a hand far, and others would be looked at wherever that ends, some
  // of them often and some seldom.
  struct Hand {
    size_t region = 0;
    PageIndex page = 0;
  };
  // What a sweep takes.
  struct Rules {
    Pick pick = Pick::kUnaccessed;
    bool held = false;
    bool dirty = false;
    std::vector<PageRun>* busy = nullptr;
    Cold cold{};
    bool pinned = false;  // what is pinned goes too
    Victims* spilling = nullptr;  // where dirty ones go; null: they stay
    uint64_t spills_max = ~uint64_t{0};
    bool cleans = false;  // dirty ones that stay count, in cleaning_pages
  };
  // One call's work over some regions.
  struct Sweep {
    const std::vector<std::shared_ptr<Region>>& regions;
    bool all;     // of the regions there are: the hand moves from one to the next
    bool spills;  // overlays take dirty pages
    const Region* patient;
    std::vector<Victims> batch{};     // of clean pages, and
    std::vector<Victims> spilling{};  // of dirty ones
    // Of each region, as last seen.
    std::vector<uint64_t> dirty = std::vector<uint64_t>(regions.size());
    std::vector<uint64_t> pinned = std::vector<uint64_t>(regions.size());
    uint64_t claimed = 0;
    uint64_t spilled = 0;
    uint64_t cleaning = 0;
    [[nodiscard]] uint64_t gone() const { return claimed + spilled + cleaning; }
  };
  // What a sweep does with one page.
  struct Verdict {
    PageWord word = 0;      // what it becomes
    bool taken = false;     // it goes: clean, or into the overlay
    bool again = false;     // its dirty bytes are given up; what is left is judged once more
    bool chance = false;    // it loses a use instead
    bool cleaning = false;  // it goes once it is written
    bool pinned = false;    // it would have gone
    bool dirty = false;     // it stays, because it is dirty
    bool unsynced = false;  // its store has its bytes without durability
  };
  static bool Spares(Pick pick, PageWord word);
  static Verdict Judge(PageWord word, const Rules& rules, bool pinned);
  // Claims victims of one chunk, up to `pages_max` in all; returns the page where it stopped.
  PageIndex Collect(Region& region, PageRun within, uint64_t pages_max, const Rules& rules,
                    Victims* victims, EvictionResult* result);
  void CollectRun(Region& region, PageRun run, const Rules& rules, Victims* victims,
                  EvictionResult* result);
  void EvictOnce(Sweep& work, uint64_t pages, std::unique_lock<std::mutex>& sweep,
                 EvictionResult* result);
  // Moves a hand over the regions, `rounds` times and to where it began, until `pages` in all
  // were claimed, or as many dirty ones as overlays are given at a time.
  void GoRound(Sweep& work, uint64_t pages, size_t rounds, Pick pick, EvictionResult* result);
  EvictionResult Take(const std::shared_ptr<Region>& region, std::span<const PageRun> runs,
                      const Rules& rules);
  void Drop(Victims& victims);
  // Gives the memory of evicted pages back, with as few holes as there are pages between them that
  // stay. give_memory_back.cc
  static void GiveMemoryBack(Region& region, std::span<const PageRun> runs);
  // Claims dirty pages of a run that are cold, used or not.
  void CollectDirty(Region& region, PageRun within, uint64_t pages_max, const Cold& cold,
                    Victims* victims);
  // The sweep's lock is let go of while overlays take the pages: their devices and peers are
  // waited for by who spills, and by nobody else.
  void Move(std::vector<Victims>& batch, std::unique_lock<std::mutex>& sweep,
            EvictionResult* result);
  Moving BeginMove(Victims& victims);
  void EndMove(Moving& moving, EvictionResult* result);
  void Lose(const std::shared_ptr<Region>& region, PageIndex page);
  // The sweep's lock, once no page of the region is on its way into its overlay. Waits for what
  // sweeps have begun to put there, each no more than kSpillPagesMax pages (Demote: its range,
  // batch by batch): as long as the tiers' devices take, and a pool its deadline
  // (RemoteTierOptions::deadline_ns) at most, once it is away no time at all.
  std::unique_lock<std::mutex> LockAtRest(const Region& region);
  uint64_t DiscardElsewhere(const std::shared_ptr<Region>& region, PageRun run);
  // Frees the tables of windows that no page is left in; how many pages they took.
  static uint64_t GiveTablesBack(Region& region);
  void TidyChunks(Region& region, const std::vector<PageRun>& runs);

  Shootdown& shootdown_;
  FrameBudget& budget_;
  WaiterList& waiters_;
  std::mutex mutex_;          // held for a whole sweep, but not while overlays take pages
  std::condition_variable moved_;
  std::vector<const Region*> moving_;  // once for each Moving; guarded by mutex_
  std::mutex tidy_mutex_;     // held while the present bit of a chunk may say too little
  std::mutex regions_mutex_;  // guards regions_ alone
  std::vector<std::shared_ptr<Region>> regions_;
  Hand trial_hand_;   // for pages on trial alone
  Hand hand_;         // for the others, and for all
  uint64_t spills_max_ = kSpillPagesMax;  // of a sweep, as the last ones found room
  std::atomic<uint64_t> evicted_{0};
};

}  // namespace farpage
