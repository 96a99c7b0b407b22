// Pinned ranges: what is in them stays when all else goes.
#include <random>
#include <thread>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 300;
constexpr uint64_t kUnbounded = ~uint64_t{0};

Code Touch(Initiator& initiator, uint32_t stag, PageIndex page) {
  std::byte one;
  return Read(initiator, stag, page << kPageShift, &one, 1).code;
}

Code Put(Initiator& initiator, uint32_t stag, PageIndex page, uint64_t value) {
  return Write(initiator, stag, page << kPageShift, &value, sizeof value).code;
}

bool IsPresent(Appliance& appliance, PageIndex page) {
  return StateOf(appliance.region->table->Load(page)) == PageState::kPresent;
}

bool ArePresent(Appliance& appliance, PageRun run) {
  for (PageIndex page = run.first; page < run.end(); page++) {
    if (!IsPresent(appliance, page)) return false;
  }
  return true;
}

Status Pin(Appliance& appliance, PageRun run, bool pinned = true, uint64_t own_max = kUnbounded) {
  return appliance.pager.pinning().Set(*appliance.region->pins, appliance.region.get(), run,
                                       pinned, own_max);
}

// Takes what it is given when it is told to.
class WaitingTier final : public Tier {
 public:
  void Put(std::span<TierPage> pages) override {
    asked = true;
    while (!goes_on) std::this_thread::yield();
    pages_ += pages.size();
  }
  Status Get(TierSlot, std::byte*) override { return Error{Code::kIo, EIO, "a waiting tier"}; }
  void Free(TierSlot) override { pages_--; }
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] const char* kind() const override { return "waiting"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return 0; }
  std::atomic<bool> asked{false};
  std::atomic<bool> goes_on{false};
};

}  // namespace

// Against a set of pages that says the same.
FARPAGE_TEST(pins_are_the_pages_that_were_pinned_and_not_unpinned) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 20; round++) {
    Pins pins;
    std::vector<bool> expected(200);
    for (int step = 0; step < 40; step++) {
      const PageIndex first = random() % 200;
      const PageRun run{first, 1 + random() % std::min<uint64_t>(30, 200 - first)};
      const bool pinned = random() % 3 != 0;
      REQUIRE(pins.Set(run, pinned, kUnbounded).ok());
      for (PageIndex page = run.first; page < run.end(); page++) expected[page] = pinned;
      Pins::View view(pins);
      uint64_t count = 0;
      for (PageIndex page = 0; page < 200; page++) {
        CHECK_EQ(view.Has(page), expected[page]);
        count += expected[page] ? 1 : 0;
      }
      CHECK_EQ(pins.pages(), count);
      const auto runs = pins.Runs();
      for (size_t n = 1; n < runs.size(); n++) CHECK(runs[n - 1].end() < runs[n].first);
    }
  }
}

FARPAGE_TEST(pins_are_bounded_in_ranges_and_pages) {
  Pins pins;
  for (PageIndex page = 0; page < kPinnedRangesMax; page++) {
    REQUIRE(pins.Set({2 * page, 1}, true, kUnbounded).ok());
  }
  const auto before = pins.Runs();
  CHECK_EQ(int(pins.Set({4 * kPinnedRangesMax, 1}, true, kUnbounded).error().code),
           int(Code::kQuota));
  CHECK(pins.Runs() == before);
  // Two become one: there is room again.
  CHECK(pins.Set({1, 1}, true, kUnbounded).ok());
  CHECK(pins.Set({4 * kPinnedRangesMax, 1}, true, kUnbounded).ok());
  CHECK_EQ(int(pins.Set({9 * kPinnedRangesMax, 7}, true, kPinnedRangesMax + 8).error().code),
           int(Code::kQuota));
  CHECK_EQ(pins.End(), kPinnedRangesMax + 2);
  CHECK_EQ(int(pins.Set({1, 1}, true, kUnbounded).error().code), int(Code::kRegionRemoved));
}

FARPAGE_TEST(pinned_pages_stay_whatever_memory_pressure_does) {
  ApplianceOptions options;
  options.frames_max = 40;
  options.read_ahead_pages = 0;
  Appliance appliance(options);
  appliance.UseTiers(512, 1024);
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  // Clean ones and dirty ones, used once, long before all others.
  const PageRun pinned{100, 16};
  REQUIRE(Pin(appliance, pinned).ok());
  for (PageIndex page = pinned.first; page < pinned.end(); page++) {
    REQUIRE((page % 2 == 0 ? Put(*initiator, stag, page, page)
                           : Touch(*initiator, stag, page)) == Code::kOk);
  }
  for (int round = 0; round < 3; round++) {
    for (PageIndex page = 0; page < kPages; page++) {
      if (page >= pinned.first && page < pinned.end()) continue;
      REQUIRE((page % 3 == 0 ? Put(*initiator, stag, page, page)
                             : Touch(*initiator, stag, page)) == Code::kOk);
      REQUIRE(ArePresent(appliance, pinned));
    }
  }
  CHECK(appliance.pager.budget().used() <= 40);
  // Unpinned they go like the others.
  REQUIRE(Pin(appliance, pinned, false).ok());
  CHECK_EQ(appliance.pager.pinning().pages(), 0u);
  for (PageIndex page = 0; page < kPages; page++) {
    if (page >= pinned.first && page < pinned.end()) continue;
    REQUIRE(Touch(*initiator, stag, page) == Code::kOk);
  }
  CHECK(!ArePresent(appliance, pinned));
  for (PageIndex page = pinned.first; page < pinned.end(); page += 2) {
    uint64_t found = 0;
    REQUIRE(Read(*initiator, stag, page << kPageShift, &found, sizeof found).code == Code::kOk);
    CHECK_EQ(found, page);
  }
}

FARPAGE_TEST(pinned_pages_are_left_out_of_a_reclaim_and_a_demotion_and_counted) {
  Appliance appliance;
  appliance.UseTiers(64, 64);
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  for (PageIndex page = 0; page < 20; page++) {
    REQUIRE((page < 10 ? Put(*initiator, stag, page, page) : Touch(*initiator, stag, page)) ==
            Code::kOk);
  }
  REQUIRE(Pin(appliance, {8, 4}).ok());
  const EvictionResult down = appliance.pager.Demote(appliance.region, {0, kPages});
  CHECK_EQ(down.evicted_pages, 16u);
  CHECK_EQ(down.pinned_pages, 4u);
  CHECK(ArePresent(appliance, {8, 4}));
  Indicators& indicators = appliance.pager.indicators();
  for (const DirtyRule rule : {DirtyRule::kKeep, DirtyRule::kDiscard}) {
    const Invalidation done = indicators.Reclaim(appliance.region, {0, 20}, rule);
    CHECK_EQ(done.pinned_pages, 4u);
    CHECK(ArePresent(appliance, {8, 4}));
  }
  uint64_t found = 0;
  REQUIRE(Read(*initiator, stag, 9 << kPageShift, &found, sizeof found).code == Code::kOk);
  CHECK_EQ(found, 9u);
  // Their bytes are not wanted any more: that is another thing.
  const Invalidation gone =
      indicators.Invalidate(appliance.region, {0, kPages}, DirtyRule::kDiscard);
  CHECK_EQ(gone.pages, 4u);
  CHECK_EQ(appliance.region->table->present(), 0u);
  REQUIRE(Touch(*initiator, stag, 9) == Code::kOk);
  CHECK_EQ(appliance.pager.Reclaim(appliance.region, {0, kPages}), 0u);
}

// A sweep that has looked at the list as it was may still take pages away.
FARPAGE_TEST(pins_are_set_once_no_sweep_is_under_way_that_missed_them) {
  Appliance appliance;
  std::vector<std::unique_ptr<Tier>> levels;
  levels.push_back(std::make_unique<WaitingTier>());
  auto* tier = static_cast<WaitingTier*>(levels[0].get());
  appliance.UseTiers(std::move(levels));
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  REQUIRE(Put(*initiator, stag, 5, 5) == Code::kOk);
  std::thread sweep([&] { (void)appliance.pager.Demote(appliance.region, {0, 10}); });
  const uint64_t deadline = NowNs() + 20'000'000'000;
  while (!tier->asked && NowNs() < deadline) std::this_thread::yield();
  CHECK(tier->asked);
  std::atomic<bool> pinned{false};
  std::thread pin([&] {
    CHECK(Pin(appliance, {5, 1}).ok());
    CHECK_EQ(appliance.region->table->present(), 0u);  // it has gone, and nothing more goes
    pinned = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(!pinned);
  tier->goes_on = true;
  sweep.join();
  pin.join();
}

// They are nothing to wait for: who finds no room beside them hears so, and not after the time that
// pages on their way may take (filler.h, kFrameWaitNs).
FARPAGE_TEST(pinned_pages_are_not_waited_for_where_memory_is_full) {
  ApplianceOptions options;
  options.frames_max = 40;
  Appliance appliance(options);
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  REQUIRE(Pin(appliance, {0, 15}).ok());
  auto initiator = appliance.Connect();
  Code code = Code::kOk;
  uint64_t took_ns = 0;
  for (PageIndex page = 0; code == Code::kOk && page < kPages; page++) {
    const uint64_t began = NowNs();
    code = Put(*initiator, stag, page, page);
    took_ns = NowNs() - began;
  }
  CHECK_EQ(int(code), int(Code::kMemoryFull));
  CHECK(took_ns < kFrameWaitNs / 2);
}

FARPAGE_TEST(pinned_pages_leave_half_of_memory_to_others) {
  ApplianceOptions options;
  options.frames_max = 40;
  Appliance appliance(options);
  (void)appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  CHECK_EQ(appliance.pager.pinning().pages_max(), 20u);
  CHECK_EQ(int(Pin(appliance, {0, 21}).error().code), int(Code::kQuota));
  CHECK_EQ(appliance.region->pins->pages(), 0u);
  CHECK_EQ(int(Pin(appliance, {0, 11}, true, 10).error().code), int(Code::kQuota));
  REQUIRE(Pin(appliance, {0, 15}).ok());
  Pins other;
  Pinning& pinning = appliance.pager.pinning();
  CHECK_EQ(int(pinning.Set(other, nullptr, {0, 6}, true, kUnbounded).error().code),
           int(Code::kQuota));
  REQUIRE(pinning.Set(other, nullptr, {0, 5}, true, kUnbounded).ok());
  // What is pinned already counts once.
  CHECK(Pin(appliance, {10, 5}).ok());
  CHECK_EQ(pinning.pages(), 20u);
  pinning.End(other);
  CHECK_EQ(pinning.pages(), 15u);
  CHECK(Pin(appliance, {100, 5}).ok());
}

}  // namespace farpage::test
