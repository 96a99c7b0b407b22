// The clock hand: who goes, who stays, and what is given back.
#include <atomic>
#include <thread>

#include "check.h"
#include "faulty_store.h"
#include "pager/evictor.h"
#include "pager/filler.h"
#include "pager/harden.h"
#include "pager/page_change.h"

namespace farpage::test {
namespace {

struct Clock {
  explicit Clock(uint64_t pages, uint64_t frames_max = 1u << 20, uint64_t own_frames = 1u << 20)
      : budget(frames_max),
        evictor(shootdown, budget, waiters),
        filler(budget, evictor, waiters, [] {}, 1) {
    Region::Options options;
    options.frames_max = own_frames;
    options.size_bytes = pages << kPageShift;
    options.writable = true;
    made = MakeFaultyRegion(options, &plan);
    evictor.Add(made.region);
  }
  void Install(PageRun run, PageWord flags = 0) {
    CHECK(Filler::TryTakeFrames(*made.region, budget, run.count));
    for (PageIndex page = run.first; page < run.end(); page++) {
      ChangePage(table(), page, [](PageWord word) { return WithState(word, PageState::kFilling); });
      ChangePage(table(), page, [&](PageWord) { return made.region->PresentFlags() | flags; });
    }
  }
  // As a fault does, and uses the pages.
  void Fill(PageRun run) {
    CHECK_EQ(Filler::Claim(*made.region, run), run.count);
    CHECK(Filler::TryTakeFrames(*made.region, budget, run.count));
    CHECK(filler.FillNow(made.region, run).ok());
    for (PageIndex page = run.first; page < run.end(); page++) Use(page);
  }
  void Use(PageIndex page) { table().Use(page, table().Load(page)); }
  [[nodiscard]] bool OnTrial(PageIndex page) { return farpage::OnTrial(table().Load(page)); }
  PageState State(PageIndex page) { return StateOf(table().Load(page)); }
  PageTable& table() { return *made.region->table; }

  FaultPlan plan;
  Shootdown shootdown;
  FrameBudget budget;
  WaiterList waiters;
  Evictor evictor;
  FaultyRegion made;
  Filler filler;
};

static_assert(GhostAge(GhostStamp(kGhostStampMax - 1), GhostStamp(kGhostStampMax + 1)) == 2);
static_assert(GhostAge(GhostStamp(7), GhostStamp(7)) == 0);
static_assert(GhostAge(0, GhostStamp(7)) > kGhostSteps);

}  // namespace

FARPAGE_TEST(evictor_takes_what_was_not_used_and_gives_a_second_chance) {
  Clock clock(64);
  clock.Install({0, 4}, kAccessed);
  clock.Install({4, 4});
  EvictionResult result = clock.evictor.Evict(4);
  CHECK_EQ(result.evicted_pages, 4u);
  for (PageIndex page = 0; page < 4; page++) CHECK(clock.State(page) == PageState::kPresent);
  for (PageIndex page = 4; page < 8; page++) CHECK(clock.State(page) == PageState::kAbsent);
  CHECK_EQ(clock.budget.used(), 4u);
  CHECK_EQ(clock.made.memory->dropped_pages.load(), 4u);
  // Nobody has used them since: one call, going round twice, takes them.
  CHECK_EQ(clock.evictor.Evict(100).evicted_pages, 4u);
  CHECK_EQ(clock.budget.used(), 0u);
  CHECK_EQ(clock.made.region->frames.used(), 0u);
  CHECK_EQ(clock.table().present_summary().Next(0), clock.table().present_summary().chunks());
  CHECK(clock.made.memory->dropped_windows.load() > 0);
}

FARPAGE_TEST(evictor_never_takes_unsafe_or_held_pages) {
  Clock clock(64);
  clock.Install({0, 1}, kDirty);
  clock.Install({1, 1}, kWriteback);
  clock.Install({2, 1}, kUnsynced);
  clock.Install({3, 1}, kHeld);
  clock.Install({4, 1});
  EvictionResult result = clock.evictor.Evict(100);
  CHECK_EQ(result.evicted_pages, 1u);
  CHECK_EQ(result.dirty_pages, 2u);
  result = clock.evictor.Reclaim(clock.made.region, {0, 64});
  CHECK_EQ(result.evicted_pages, 0u);
  CHECK_EQ(result.dirty_pages, 2u);
  CHECK_EQ(result.unsynced_pages, 1u);
  for (PageIndex page = 0; page < 4; page++) CHECK(clock.State(page) == PageState::kPresent);
  CHECK_EQ(clock.budget.used(), 4u);
  // What is held or being written back is no reason to call the memory full.
  for (PageIndex page = 1; page < 4; page++) {
    clock.table().ClearFlags(page, kHeld);
    ChangePage(clock.table(), page, [](PageWord word) { return word & ~kUnsafe; });
  }
  CHECK_EQ(clock.evictor.Reclaim(clock.made.region, {0, 64}).evicted_pages, 3u);
  CHECK_EQ(clock.evictor.Evict(100).dirty_pages, 1u);
}

FARPAGE_TEST(evictor_reclaims_exactly_a_run_whether_used_or_not) {
  Clock clock(3 * kSummaryPages);
  clock.Install({1000, 100}, kAccessed);
  CHECK_EQ(clock.evictor.Reclaim(clock.made.region, {1010, 50}).evicted_pages, 50u);
  for (PageIndex page = 1000; page < 1100; page++) {
    CHECK_EQ(clock.State(page) == PageState::kAbsent, page >= 1010 && page < 1060);
  }
  CHECK_EQ(clock.evictor.Reclaim(clock.made.region, {0, ~uint64_t{0} >> 20}).evicted_pages, 50u);
  CHECK_EQ(clock.evictor.evicted_pages(), 100u);
  CHECK_EQ(clock.evictor.Reclaim(clock.made.region, {0, 3 * kSummaryPages}).evicted_pages, 0u);
}

FARPAGE_TEST(evictor_takes_what_was_used_once_before_what_was_used_again) {
  Clock clock(256);
  clock.Install({0, 50}, kTrial | kUnused);
  PageTable& table = clock.table();
  const auto use = [&](PageIndex page) { table.Use(page, table.Load(page)); };
  // The use that a page was filled for, and one more of the first half.
  for (PageIndex page = 0; page < 50; page++) use(page);
  CHECK_EQ(table.trial(), 50u);
  for (PageIndex page = 0; page < 25; page++) use(page);
  CHECK_EQ(table.trial(), 25u);
  CHECK((table.Load(0) & (kTrial | kUnused | kUses)) == 0);
  // A scan comes by.
  clock.Install({100, 100}, kTrial | kUnused);
  for (PageIndex page = 100; page < 200; page++) use(page);
  CHECK_EQ(clock.evictor.Evict(90).evicted_pages, 90u);
  for (PageIndex page = 0; page < 25; page++) CHECK(clock.State(page) == PageState::kPresent);
  CHECK_EQ(clock.evictor.Evict(29).evicted_pages, 29u);
  CHECK_EQ(table.trial(), 6u);
  // Down to its share of what is left, 1 of 31; of the others those go that were not used lately.
  for (PageIndex page = 0; page < 10; page++) use(page);
  CHECK_EQ(clock.evictor.Evict(10).evicted_pages, 10u);
  CHECK_EQ(table.trial(), 1u);
  for (PageIndex page = 0; page < 10; page++) CHECK(clock.State(page) == PageState::kPresent);
  CHECK_EQ(clock.evictor.Evict(100).evicted_pages, 21u);
  CHECK_EQ(table.trial(), 0u);
  CHECK_EQ(table.present(), 0u);
}

FARPAGE_TEST(evictor_puts_what_comes_back_soon_on_no_second_trial) {
  // The frames that count are those of all regions, or fewer of the region's own.
  for (const bool own : {false, true}) {
    Clock clock(512, own ? 1u << 20 : 40, own ? 40 : 1u << 20);
    clock.Fill({0, 32});
    CHECK_EQ(clock.table().trial(), 32u);
    CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
    for (PageIndex page = 0; page < 4; page++) CHECK(clock.State(page) == PageState::kAbsent);
    clock.Fill({0, 2});
    CHECK(!clock.OnTrial(0) && !clock.OnTrial(1));
    // The use that it was filled for is no other, and its stamp is gone.
    CHECK((clock.table().Load(0) & (kUnused | kUses | kGhost)) == 0);
    // Those on trial go first.
    CHECK_EQ(clock.evictor.Evict(20).evicted_pages, 20u);
    CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
    CHECK(clock.State(0) == PageState::kPresent && clock.State(1) == PageState::kPresent);
    // By now that of page 2 was long ago, seven steps of four pages.
    clock.Fill({2, 1});
    CHECK(clock.OnTrial(2));
    clock.Fill({27, 1});
    CHECK(!clock.OnTrial(27));
    // Who has been used again and went is remembered, too.
    for (PageIndex page = 28; page < 32; page++) clock.Use(page);
    CHECK_EQ(clock.evictor.Evict(3).evicted_pages, 3u);
    PageIndex gone = 0;
    for (PageIndex page = 0; page < 2; page++) gone += clock.State(page) == PageState::kAbsent;
    REQUIRE(gone == 2);
    clock.Fill({0, 2});
    CHECK(!clock.OnTrial(0) && !clock.OnTrial(1));
    // What somebody wanted to go tells nothing.
    clock.Fill({300, 1});
    CHECK_EQ(clock.evictor.Reclaim(clock.made.region, {300, 1}).evicted_pages, 1u);
    clock.Fill({300, 1});
    CHECK(clock.OnTrial(300));
  }
}

FARPAGE_TEST(evictor_takes_a_use_whenever_it_passes) {
  Clock clock(64);
  PageTable& table = clock.table();
  clock.Install({0, 8}, kAccessed);
  // The first half has been used once, the others more often than is counted.
  for (PageIndex page = 4; page < 8; page++) {
    for (int n = 0; n < 9; n++) table.Use(page, table.Load(page));
    CHECK_EQ(table.Load(page) & kUses, kUses);
  }
  CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
  for (PageIndex page = 4; page < 8; page++) {
    CHECK(clock.State(page) == PageState::kPresent);
    CHECK((table.Load(page) & kUses) != kUses && (table.Load(page) & kUses) != 0);
  }
  // One call goes round until there is a victim.
  CHECK_EQ(clock.evictor.Evict(1).evicted_pages, 1u);
  CHECK_EQ(clock.evictor.Evict(100).evicted_pages, 3u);
}

FARPAGE_TEST(evictor_counts_who_is_on_trial_however_the_trial_ends) {
  Clock clock(64);
  clock.Install({0, 4}, kTrial | kUnused);
  CHECK_EQ(clock.table().trial(), 4u);
  CHECK(clock.table().MarkDirty(0));
  CHECK_EQ(clock.table().trial(), 3u);
  clock.table().ClearFlags(1, kTrial);
  clock.table().ClearFlags(1, kTrial);
  CHECK_EQ(clock.table().trial(), 2u);
  CHECK_EQ(clock.evictor.Reclaim(clock.made.region, {0, 64}).evicted_pages, 3u);
  CHECK_EQ(clock.table().trial(), 0u);
}

FARPAGE_TEST(evictor_tries_what_is_only_written_where_it_may_go) {
  Clock clock(64);
  PageTable& table = clock.table();
  table.KeepTrials();
  clock.Install({0, 4}, kTrial | kUnused);
  for (PageIndex page = 0; page < 3; page++) {
    CHECK(table.MarkDirty(page));
    CHECK(table.MarkDirty(page));
  }
  CHECK_EQ(table.trial(), 1u);
  CHECK_EQ(table.dirty_trial(), 3u);
  clock.Use(0);  // a read, after the write that it was filled for
  CHECK_EQ(table.dirty_trial(), 2u);
  ChangePage(table, 1, [](PageWord word) { return word & ~kUnsafe; });
  CHECK_EQ(table.trial(), 2u);
  CHECK_EQ(table.dirty_trial(), 1u);
}

FARPAGE_TEST(evictor_hand_goes_on_where_it_stopped) {
  Clock clock(16 * kSummaryPages);
  for (uint64_t chunk = 0; chunk < 16; chunk++) clock.Install({chunk * kSummaryPages, 4});
  uint64_t evicted = 0;
  for (int n = 0; n < 16; n++) evicted += clock.evictor.Evict(4).evicted_pages;
  CHECK_EQ(evicted, 64u);
  CHECK_EQ(clock.table().present(), 0u);
}

FARPAGE_TEST(evictor_hand_takes_second_chances_away_once_a_round) {
  Clock clock(64);
  clock.Install({0, 4}, kAccessed);
  clock.Install({4, 8});
  // Both calls look into the same chunk; what the first has passed is behind the second one's hand.
  CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
  CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
  for (PageIndex page = 0; page < 4; page++) CHECK(clock.State(page) == PageState::kPresent);
  CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
  CHECK_EQ(clock.table().present(), 0u);
}

// Looking for pages on trial moves no hand over the others.
FARPAGE_TEST(evictor_hands_for_trials_and_for_all_go_on_by_themselves) {
  Clock clock(64);
  clock.Install({0, 8});
  CHECK_EQ(clock.evictor.Evict(2).evicted_pages, 2u);
  clock.Install({32, 20}, kTrial | kUnused);
  CHECK_EQ(clock.evictor.Evict(10).evicted_pages, 10u);
  CHECK_EQ(clock.table().trial(), 10u);
  // The others pass their trial.
  for (PageIndex page = 42; page < 52; page++) {
    clock.Use(page);
    clock.Use(page);
  }
  CHECK_EQ(clock.table().trial(), 0u);
  CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
  for (PageIndex page = 2; page < 6; page++) CHECK(clock.State(page) == PageState::kAbsent);
  CHECK_EQ(clock.evictor.Evict(3).evicted_pages, 3u);
  for (PageIndex page = 42; page < 52; page++) {
    CHECK_EQ(clock.State(page) == PageState::kAbsent, page == 42);
  }
  // And the other way: the hand for trials is where it was.
  clock.Install({8, 4}, kTrial);
  clock.Install({56, 4}, kTrial);
  CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
  CHECK_EQ(clock.table().trial(), 4u);
  CHECK(clock.State(8) == PageState::kPresent && clock.State(59) == PageState::kAbsent);
}

FARPAGE_TEST(evictor_recycles_what_was_never_used_and_nothing_else_where_it_spares) {
  Clock clock(64);
  clock.Install({0, 4}, kTrial | kUnused);
  clock.Install({4, 4});
  clock.Install({8, 4}, kAccessed);
  for (PageIndex page = 0; page < 2; page++) clock.table().Use(page, clock.table().Load(page));
  CHECK_EQ(clock.evictor.Reclaim(clock.made.region, {0, 64}, true).evicted_pages, 6u);
  CHECK(clock.State(0) == PageState::kPresent && clock.State(1) == PageState::kPresent);
  CHECK(clock.State(8) == PageState::kPresent);
  CHECK_EQ(clock.table().trial(), 2u);
}

// Who waits for what was written takes nothing that is in use, also where pages become clean while
// the sweep looks: they are not dirty when it passes, and were not clean when it began.
FARPAGE_TEST(evictor_that_waits_takes_pages_that_become_clean_meanwhile) {
  constexpr PageIndex kWritten = 400;
  for (int round = 0; round < 300; round++) {
    Clock clock(512);
    clock.Install({0, kWritten}, kTrial | kUnsynced);
    clock.Install({kWritten, 100});
    const Region* const writer = clock.made.region.get();
    std::atomic<bool> ready{false};
    std::atomic<bool> begun{false};
    std::thread syncing([&] {
      ready.store(true);
      while (!begun.load()) std::this_thread::yield();
      // Somewhere in the sweep, and from the end that its hand comes to last.
      for (int spin = 0; spin < round; spin++) (void)begun.load();
      for (PageIndex n = kWritten; n != 0; n--) MarkDurable(clock.table(), {{n - 1, 1}});
    });
    while (!ready.load()) std::this_thread::yield();
    begun.store(true);
    (void)clock.evictor.Evict(kWritten, nullptr, writer);
    syncing.join();
    for (PageIndex page = kWritten; page < kWritten + 100; page++) {
      REQUIRE(clock.State(page) == PageState::kPresent);
    }
  }
}

FARPAGE_TEST(evictor_that_waits_waits_for_pages_that_give_up_their_private_copies) {
  Clock clock(64);
  clock.Install({0, 8}, kTrial);
  clock.Install({8, 4});
  const auto move_all = [&](PageState from, PageState to) {
    for (PageIndex page = 0; page < 8; page++) {
      ChangePage(clock.table(), page, [&](PageWord word) {
        return StateOf(word) == from ? WithState(word, to) : word;
      });
    }
  };
  move_all(PageState::kPresent, PageState::kCopying);
  const Region* const writer = clock.made.region.get();
  EvictionResult result = clock.evictor.Evict(4, nullptr, writer);
  CHECK_EQ(result.evicted_pages, 0u);
  CHECK(result.cleaning_pages >= 4u);
  move_all(PageState::kCopying, PageState::kPresent);
  CHECK_EQ(clock.evictor.Evict(4, nullptr, writer).evicted_pages, 4u);
  for (PageIndex page = 8; page < 12; page++) CHECK(clock.State(page) == PageState::kPresent);
  // Who waits for nobody takes what there is.
  move_all(PageState::kPresent, PageState::kCopying);
  CHECK_EQ(clock.evictor.Evict(4).evicted_pages, 4u);
}

FARPAGE_TEST(evictor_stays_with_the_one_region_it_was_asked_for) {
  Clock clock(64);
  FaultPlan plan;
  Region::Options options;
  options.size_bytes = 64 << kPageShift;
  const FaultyRegion other = MakeFaultyRegion(options, &plan);
  clock.evictor.Add(other.region);
  clock.Install({0, 8});
  CHECK_EQ(clock.evictor.Evict(8, other.region.get()).evicted_pages, 0u);
  CHECK_EQ(clock.evictor.Evict(3, clock.made.region.get()).evicted_pages, 3u);
  clock.evictor.Remove(clock.made.region.get());
  CHECK_EQ(clock.evictor.Evict(8).evicted_pages, 0u);
  CHECK_EQ(clock.table().present(), 5u);
}

}  // namespace farpage::test
