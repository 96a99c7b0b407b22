// A tier that lets its own region wait must not let others wait.
#include <array>
#include <cstring>
#include <map>
#include <thread>

#include "fetched.h"
#include "slow_fixture.h"

namespace farpage::test {
namespace {

// A tier at a peer that is slow to take pages.
class SlowTier final : public Tier {
 public:
  explicit SlowTier(Gate* gate) : gate_(gate) {}
  void Put(std::span<TierPage> pages) override {
    gate_->Pass();
    const std::lock_guard<std::mutex> lock(mutex_);
    for (TierPage& page : pages) {
      page.slot = ++last_;
      kept_[page.slot] = {page.bytes, page.bytes + kPageBytes};
    }
    pages_ += pages.size();
  }
  Status Get(TierSlot slot, std::byte* into) override {
    if (holds_gets) gets_.Pass();
    const std::lock_guard<std::mutex> lock(mutex_);
    std::memcpy(into, kept_[slot].data(), kPageBytes);
    return {};
  }
  void StartGet(TierSlot slot, std::byte* into, TierDone done) override {
    if (!holds_gets) return done(Get(slot, into));
    const std::lock_guard<std::mutex> lock(mutex_);
    asked_.push_back([this, slot, into, done] { done(Get(slot, into)); });
  }
  // From now on it is silent, until it answers all that it was asked.
  std::atomic<bool> holds_gets{false};
  void Answer() {
    holds_gets = false;
    gets_.Open();
    std::vector<std::function<void()>> asked;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      asked.swap(asked_);
    }
    for (const auto& each : asked) each();
  }
  void Free(TierSlot slot) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_.erase(slot);
    pages_--;
  }
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] bool starts_gets() const override { return true; }
  [[nodiscard]] const char* kind() const override { return "slow"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return 0; }

 private:
  Gate* gate_;
  Gate gets_;
  std::mutex mutex_;
  std::vector<std::function<void()>> asked_;
  TierSlot last_ = 0;
  std::map<TierSlot, std::vector<std::byte>> kept_;
};

// Two regions, one with eight pages on their way into a tier that takes its time.
struct Spilling {
  explicit Spilling(PageIndex first = 0) : house(64), other(&house.Add(256)) {
    std::vector<std::unique_ptr<Tier>> levels;
    levels.push_back(std::make_unique<SlowTier>(&house.gate));
    tier = static_cast<SlowTier*>(levels.back().get());
    house.appliance.UseTiers(std::move(levels));
    slow = &house.Add(16);
    house.Put(*slow, first, 8, 0x81);
    demoter = std::thread([this, first] {
      spilled = house.appliance.pager.Demote(slow->region, {first, 8}).spilled_pages;
    });
    CHECK(house.gate.AwaitHeld(1));
  }
  ~Spilling() {
    house.gate.Open();
    tier->Answer();
    if (demoter.joinable()) demoter.join();
  }
  Neighbours house;
  Neighbours::Neighbour* other;
  Neighbours::Neighbour* slow = nullptr;
  SlowTier* tier = nullptr;
  std::thread demoter;
  std::atomic<uint64_t> spilled{0};
};

}  // namespace

FARPAGE_TEST(slow_tier_delays_no_eviction_sync_or_removal_of_another_region) {
  Spilling test;
  Neighbours& house = test.house;
  // The sync of its own region waits for those pages.
  Asked waiting(house.appliance, test.slow->region);
  // Four times the memory goes through it: each fill evicts.
  house.Get(*test.other, 0, 256);
  CHECK(house.appliance.pager.evicted_pages() >= 256 - 64);
  CHECK(house.appliance.pager.Reclaim(test.other->region, {0, 256}) != 0);
  house.Put(*test.other, 0, 4, 0x82);
  Asked synced(house.appliance, test.other->region);
  REQUIRE(synced.Await());
  CHECK(Has(*test.other->store, 0, 4, 0x82));
  auto& gone = house.Add(16);
  gone.region->removed.store(true);
  house.appliance.domain->DeregisterAll(gone.region.get());
  house.appliance.pager.RemoveRegion(gone.region);
  house.regions.pop_back();
  house.gate.Open();
  test.demoter.join();
  CHECK_EQ(test.spilled.load(), 8u);
  CHECK(waiting.Await());
}

// Whoever moves the page that a sync waits for may need a frame: it keeps none from leaving memory.
FARPAGE_TEST(slow_tier_finds_a_sync_that_waits_for_it_with_nothing_in_hand) {
  Spilling test(8);
  test.house.Put(*test.slow, 0, 4, 0x83);
  Asked synced(test.house.appliance, test.slow->region);
  CHECK(Await([&] { return Has(*test.slow->store, 0, 4, 0x83); }));
  const PageTable& table = *test.slow->region->table;
  CHECK(Await([&] { return (table.Load(3) & (kUnsafe | kWriteback)) == 0; }));
  CHECK(!synced.ended);
  test.house.gate.Open();
  REQUIRE(synced.Await());
  CHECK_EQ(int(synced.code.load()), int(Code::kOk));
  CHECK(Has(*test.slow->store, 8, 8, 0x81));
}

FARPAGE_TEST(slow_tier_is_not_waited_for_before_earlier_flushes_are_durable) {
  Spilling test;
  test.house.Put(*test.slow, 8, 4, 0x83);
  Pager& pager = test.house.appliance.pager;
  CHECK(pager.write_back().Run(test.slow->region, {8, 4}, false).ok());
  CHECK(!Has(*test.slow->store, 8, 4, 0x83));
  Asked synced(test.house.appliance, test.slow->region);
  CHECK(Await([&] { return Has(*test.slow->store, 8, 4, 0x83); }));
  CHECK(!synced.ended);
  test.house.gate.Open();
  REQUIRE(synced.Await());
  CHECK_EQ(int(synced.code.load()), int(Code::kOk));
  CHECK(Has(*test.slow->store, 0, 8, 0x81));
}

// Who gives up what is dirty misses no page that is on its way at that moment.
FARPAGE_TEST(slow_tier_has_its_pages_before_they_are_given_up) {
  Spilling test;
  Pager& pager = test.house.appliance.pager;
  Invalidation gone;
  std::atomic<bool> ended{false};
  std::thread discarder([&] {
    gone = pager.indicators().Invalidate(test.slow->region, {0, 16}, DirtyRule::kDiscard);
    ended = true;
  });
  Nap(20);
  CHECK(!ended);
  test.house.gate.Open();
  discarder.join();
  CHECK_EQ(gone.pages, 8u);
  CHECK_EQ(test.slow->region->table->dirty(), 0u);
  CHECK_EQ(test.slow->region->table->present(), 0u);
}

// Nothing new goes into a tier that hangs: who needs a frame takes a clean page, and what may be
// written behind is written.
FARPAGE_TEST(hung_tier_delays_no_fill_that_finds_a_clean_page) {
  Spilling test;
  Neighbours& house = test.house;
  house.Put(*test.slow, 8, 8, 0x84);
  auto& behind = house.Add(256, true);
  Nap(kStuckWriteNs / 1'000'000 + 100);
  house.Get(*test.other, 0, 256);
  CHECK(house.appliance.pager.evicted_pages() >= 256 - 64);
  house.Put(behind, 0, 256, 0x85);
  CHECK(house.gate.AwaitHeld(1));
  house.gate.Open();
  test.demoter.join();
  CHECK_EQ(test.spilled.load(), 8u);
  // It answers, and is used again.
  (void)house.appliance.pager.Demote(test.slow->region, {8, 8});
  CHECK(test.tier->pages() >= 16);
}

FARPAGE_TEST(hung_tier_holds_four_who_write_into_it) {
  bool four = false;
  // Again where this machine itself stood still for so long.
  for (int look = 0; look < 20 && !four; look++) {
    TierWriters writers;
    std::array<uint64_t, kTierWritersMax> began{};
    four = std::all_of(began.begin(), began.end(),
                       [&](uint64_t& each) { return writers.Begin(&each); });
    if (!four) continue;
    uint64_t late = 0;
    CHECK(!writers.Begin(&late));  // waits, and then the others have not ended for so long
    CHECK(!writers.Begin(&late));
    for (const uint64_t each : began) writers.End(each);
    CHECK(writers.Begin(&late));
  }
  CHECK(four);
}

FARPAGE_TEST(slow_tier_gives_the_next_who_writes_into_it_a_turn) {
  std::atomic<bool> had{false};
  // Again where this machine itself stood still for so long.
  for (int look = 0; look < 20 && !had; look++) {
    TierWriters writers;
    std::array<uint64_t, kTierWritersMax> began{};
    for (uint64_t& each : began) (void)writers.Begin(&each);
    std::thread next([&] {
      uint64_t mine = 0;
      had = writers.Begin(&mine);
    });
    Nap(5);
    CHECK(!had);
    writers.End(began[0]);
    next.join();
  }
  CHECK(had.load());
}

FARPAGE_TEST(slow_tier_delays_no_prefetch_of_another_region) {
  Spilling test;
  Neighbours& house = test.house;
  house.gate.Open();
  test.demoter.join();
  REQUIRE(test.spilled.load() == 8u);
  test.tier->holds_gets = true;
  Fetched held(house.appliance, test.slow->region);
  CHECK(Await([&] { return held.Now().passed_pages >= 8; }));
  auto& swift = house.Add(16);
  Fetched passing(house.appliance, swift.region);
  CHECK_EQ(passing.Await().filled_pages, 16u);
  CHECK_EQ(swift.region->table->present(), 16u);
  CHECK(!held.ended());
  test.tier->Answer();
  const PrefetchReport report = held.Await();
  CHECK(report.outcome.ok());
  CHECK_EQ(report.filled_pages, 16u);
  CHECK_EQ(report.passed_pages, 16u);
  CHECK_EQ(test.slow->region->table->present(), 16u);
  CHECK_EQ(test.slow->region->table->dirty(), 8u);
}

}  // namespace farpage::test
