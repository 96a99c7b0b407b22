// A store, or a tier, that lets its own region wait must not let others wait.
#include <condition_variable>
#include <cstring>
#include <map>
#include <thread>

#include "check.h"
#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPatienceNs = 60'000'000'000;

// What a test holds up until it has seen enough.
class Gate {
 public:
  ~Gate() { Open(); }
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    held_++;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    held_--;
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool AwaitHeld(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::nanoseconds(kPatienceNs),
                             [&] { return held_ == count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0;
  bool open_ = false;
};

// A write-back that was submitted.
struct Asked {
  Asked(Appliance& appliance, const std::shared_ptr<Region>& region) {
    appliance.pager.write_back().Submit(
        region, {0, region->table->pages()}, true,
        [this](Result<WriteBackReceipt> done) {
          code = done.ok() ? Code::kOk : done.error().code;
          ended = true;
        });
  }
  bool Await() {
    const uint64_t deadline = NowNs() + kPatienceNs;
    while (!ended && NowNs() < deadline) Nap(1);
    return ended;
  }
  std::atomic<Code> code{Code::kInternal};
  std::atomic<bool> ended{false};
};

// Regions beside each other; each writes to a store of its own.
struct Neighbours {
  explicit Neighbours(uint64_t frames) : appliance(Settings(frames)) {}
  ~Neighbours() {
    gate.Open();
    for (const auto& made : regions) {
      made->region->removed.store(true);
      appliance.domain->DeregisterAll(made->region.get());
      appliance.pager.RemoveRegion(made->region);
    }
  }
  static ApplianceOptions Settings(uint64_t frames) {
    ApplianceOptions settings;
    settings.frames_max = frames;
    settings.read_ahead_pages = 0;
    settings.window_bytes = kPageBytes;
    return settings;
  }
  struct Neighbour : FaultyRegion {
    uint32_t stag = 0;
    FaultPlan plan;
  };
  Neighbour& Add(uint64_t pages, bool write_behind = false) {
    Region::Options options;
    options.size_bytes = pages << kPageShift;
    options.writable = true;
    options.write_behind = write_behind;
    auto made = std::make_unique<Neighbour>();
    static_cast<FaultyRegion&>(*made) = MakeFaultyRegion(options, &made->plan);
    appliance.pager.AddRegion(made->region);
    auto stag = appliance.domain->Register(made->region, 0, options.size_bytes, true);
    CHECK(stag.ok());
    made->stag = stag.value();
    regions.push_back(std::move(made));
    return *regions.back();
  }
  // One whose store waits at the gate.
  Neighbour& AddSlow(uint64_t pages, bool write_behind = false) {
    Neighbour& made = Add(pages, write_behind);
    made.store->elsewhere = true;
    made.store->SetOnWrite([this] { gate.Pass(); });
    return made;
  }
  void Put(const Neighbour& to, PageIndex first, uint64_t count, uint8_t value) {
    const auto user = appliance.Connect();
    REQUIRE(user != nullptr);
    const std::vector<std::byte> bytes(kPageBytes, std::byte{value});
    for (PageIndex page = first; page < first + count; page++) {
      const auto done =
          Write(*user, to.stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes));
      CHECK_EQ(int(done.code), 0);
      if (done.code != Code::kOk) return;
    }
  }
  void Get(const Neighbour& from, PageIndex first, uint64_t count) {
    const auto user = appliance.Connect();
    REQUIRE(user != nullptr);
    std::vector<std::byte> bytes(kPageBytes);
    for (PageIndex page = first; page < first + count; page++) {
      const auto done =
          Read(*user, from.stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes));
      CHECK_EQ(int(done.code), 0);
      if (done.code != Code::kOk) return;
    }
  }

  Gate gate;
  std::vector<std::unique_ptr<Neighbour>> regions;
  Appliance appliance;
};

// Whether the store has `value` in each of its pages, durably.
bool Has(FaultyStore& store, PageIndex first, uint64_t count, uint8_t value) {
  const std::vector<std::byte> durable = store.Durable();
  const auto from = durable.begin() + static_cast<ptrdiff_t>(first << kPageShift);
  return std::all_of(from, from + static_cast<ptrdiff_t>(count << kPageShift),
                     [&](std::byte byte) { return byte == std::byte{value}; });
}

}  // namespace

FARPAGE_TEST(slow_store_of_one_region_delays_no_write_back_of_another) {
  Neighbours house(64);
  auto& slow = house.AddSlow(16);
  auto& other = house.Add(256, true);
  house.Put(slow, 0, 8, 0x51);
  Asked held(house.appliance, slow.region);
  REQUIRE(house.gate.AwaitHeld(1));
  // Clean pages of another region are evicted.
  house.Get(other, 0, 4);
  CHECK(house.appliance.pager.Reclaim(other.region, {0, 4}) == 4);
  // It is synced.
  house.Put(other, 0, 4, 0x52);
  Asked synced(house.appliance, other.region);
  REQUIRE(synced.Await());
  CHECK_EQ(int(synced.code.load()), 0);
  CHECK(Has(*other.store, 0, 4, 0x52));
  // Its writers go on where memory is short, because what they wrote is written behind.
  house.Put(other, 0, 256, 0x53);
  CHECK(!held.ended);
  house.gate.Open();
  REQUIRE(held.Await());
  CHECK_EQ(int(held.code.load()), 0);
  CHECK(Has(*slow.store, 0, 8, 0x51));
}

FARPAGE_TEST(slow_store_that_is_written_behind_delays_no_other_writer) {
  Neighbours house(64);
  auto& slow = house.AddSlow(64, true);
  auto& other = house.Add(256, true);
  house.Put(slow, 0, 16, 0x61);
  // The reclaim thread is asked to write behind, and meets the slow region first.
  house.Put(other, 0, 128, 0x62);
  REQUIRE(house.gate.AwaitHeld(1));
  house.Put(other, 128, 128, 0x63);
  CHECK(slow.region->written_behind.load());
  house.gate.Open();
  const uint64_t deadline = NowNs() + kPatienceNs;
  while (slow.region->written_behind.load() && NowNs() < deadline) Nap(1);
  CHECK(Has(*slow.store, 0, 16, 0x61));
}

FARPAGE_TEST(slow_stores_have_a_lane_each_and_syncs_of_one_follow_one_another) {
  Neighbours house(1024);
  auto& slow = house.AddSlow(16);
  house.Put(slow, 0, 1, 0x71);
  Asked first(house.appliance, slow.region);
  REQUIRE(house.gate.AwaitHeld(1));
  Asked second(house.appliance, slow.region);
  Asked third(house.appliance, slow.region);
  for (int n = 0; n < 3; n++) {
    auto& swift = house.Add(16);
    swift.store->elsewhere = true;
    house.Put(swift, 0, 1, 0x72);
    Asked passing(house.appliance, swift.region);
    REQUIRE(passing.Await());
    CHECK(Has(*swift.store, 0, 1, 0x72));
  }
  CHECK(!first.ended);
  CHECK(!second.ended);
  CHECK(!third.ended);
  house.gate.Open();
  CHECK(first.Await());
  CHECK(second.Await());
  CHECK(third.Await());
  CHECK_EQ(slow.store->syncs(), 1u);
}

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
    const std::lock_guard<std::mutex> lock(mutex_);
    std::memcpy(into, kept_[slot].data(), kPageBytes);
    return {};
  }
  void StartGet(TierSlot slot, std::byte* into, TierDone done) override { done(Get(slot, into)); }
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
  std::mutex mutex_;
  TierSlot last_ = 0;
  std::map<TierSlot, std::vector<std::byte>> kept_;
};

// Two regions, the first with pages on their way into a tier that takes its time.
struct Spilling {
  Spilling() : house(64), other(&house.Add(256)) {
    std::vector<std::unique_ptr<Tier>> levels;
    levels.push_back(std::make_unique<SlowTier>(&house.gate));
    house.appliance.UseTiers(std::move(levels));
    slow = &house.Add(16);
    house.Put(*slow, 0, 8, 0x81);
    demoter = std::thread([this] {
      spilled = house.appliance.pager.Demote(slow->region, {0, 8}).spilled_pages;
    });
    CHECK(house.gate.AwaitHeld(1));
  }
  ~Spilling() {
    house.gate.Open();
    if (demoter.joinable()) demoter.join();
  }
  Neighbours house;
  Neighbours::Neighbour* other;
  Neighbours::Neighbour* slow = nullptr;
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

}  // namespace farpage::test
