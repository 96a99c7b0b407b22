// Memory of scattered pages goes by one hole over what is absent between them, and nothing else.
#include <cstring>
#include <random>
#include <thread>

#include "appliance_fixture.h"
#include "check.h"
#include "faulty_store.h"
#include "pager/evictor.h"
#include "pager/filler.h"
#include "pager/page_change.h"

namespace farpage::test {
namespace {

const uint64_t kWindowPages = kWindowBytes >> kPageShift;

// A region of some windows whose memory tells which runs were dropped.
struct Holed {
  Holed() : evictor(shootdown, budget, waiters), filler(budget, evictor, waiters, [] {}, 1) {
    Region::Options options;
    options.size_bytes = 4 * kWindowBytes;
    options.writable = true;
    made = MakeFaultyRegion(options, &plan);
    made.memory->by_runs = true;
    made.memory->on_drop = [this](std::span<const PageRun> runs) {
      holes.insert(holes.end(), runs.begin(), runs.end());
      if (meanwhile) meanwhile();
    };
    evictor.Add(made.region);
  }
  // Present pages with bytes that zeros are told from.
  void Fill(PageRun run) {
    CHECK_EQ(Filler::Claim(*made.region, run), run.count);
    CHECK(Filler::TryTakeFrames(*made.region, budget, run.count));
    CHECK(filler.FillNow(made.region, run).ok());
    for (PageIndex page = run.first; page < run.end(); page++) Mark(page);
  }
  std::byte* At(PageIndex page) { return made.memory->address() + (page << kPageShift); }
  void Mark(PageIndex page) { *At(page) = std::byte{0x5a}; }
  bool HasMark(PageIndex page) { return *At(page) == std::byte{0x5a}; }
  uint64_t Reclaim() {
    return evictor.Reclaim(made.region, {0, table().pages()}).evicted_pages;
  }
  PageTable& table() { return *made.region->table; }

  FaultPlan plan;
  Shootdown shootdown;
  FrameBudget budget{1u << 20};
  WaiterList waiters;
  Evictor evictor;
  FaultyRegion made;
  Filler filler;
  std::vector<PageRun> holes;
  std::function<void()> meanwhile;
};

}  // namespace

FARPAGE_TEST(memory_given_back_takes_one_hole_for_each_window) {
  Holed region;
  for (PageIndex page = 3; page < 2 * kWindowPages; page += 5) region.Fill({page, 1});
  // One run over the end of a window, alone in the second one.
  region.Fill({3 * kWindowPages - 2, 4});
  const uint64_t present = region.table().present();
  CHECK_EQ(region.Reclaim(), present);
  CHECK_EQ(region.table().present(), 0u);
  const PageIndex second = kWindowPages + (5 - (kWindowPages - 3) % 5) % 5;
  const PageIndex last_of_first = second - 5;
  const PageIndex last = 2 * kWindowPages - 1 - (2 * kWindowPages - 1 - 3) % 5;
  const std::vector<PageRun> expected{{3, last_of_first - 2},
                                      {second, last - second + 1},
                                      {3 * kWindowPages - 2, 2},
                                      {3 * kWindowPages, 2}};
  CHECK(region.holes == expected);
  // Its windows are open again.
  CHECK_EQ(Filler::Claim(*region.made.region, {4, 1}), 1u);
  CHECK_EQ(Filler::Claim(*region.made.region, {second, 1}), 1u);
}

FARPAGE_TEST(memory_given_back_leaves_what_stays_between) {
  Holed region;
  for (const PageIndex page : {0, 5, 10, 15, 25, 30}) region.Fill({page, 1});
  CHECK(region.table().MarkDirty(10));
  CHECK_EQ(Filler::Claim(*region.made.region, {20, 1}), 1u);  // on its way in
  region.Mark(20);
  CHECK_EQ(region.Reclaim(), 5u);
  CHECK(region.holes == (std::vector<PageRun>{{0, 6}, {15, 1}, {25, 6}}));
  CHECK(region.HasMark(10));
  CHECK(region.HasMark(20));
  CHECK(!region.HasMark(5));
}

// Who enters counts itself in first and claims then: its page may have been looked at in between.
FARPAGE_TEST(memory_given_back_joins_nothing_while_a_page_may_be_entering) {
  Holed region;
  for (const PageIndex page : {0, 20, 30}) region.Fill({page, 1});
  region.table().tables().Enter(7);
  region.Mark(7);
  CHECK_EQ(region.Reclaim(), 3u);
  CHECK(region.holes == (std::vector<PageRun>{{0, 1}, {20, 1}, {30, 1}}));
  CHECK(region.HasMark(7));
  region.table().tables().Leave(7);
}

FARPAGE_TEST(memory_given_back_lets_no_page_in_under_a_hole) {
  Holed region;
  for (const PageIndex page : {0, 20}) region.Fill({page, 1});
  bool asked = false;
  region.meanwhile = [&] {
    asked = true;
    CHECK_EQ(Filler::Claim(*region.made.region, {7, 1}), 0u);
    // Other windows are none of its business.
    CHECK_EQ(Filler::Claim(*region.made.region, {kWindowPages + 7, 1}), 1u);
  };
  CHECK_EQ(region.Reclaim(), 2u);
  CHECK(asked);
  CHECK_EQ(Filler::Claim(*region.made.region, {7, 1}), 1u);
}

// Who needs one of its pages meanwhile waits, so the other windows are open.
FARPAGE_TEST(memory_given_back_closes_one_window_at_a_time) {
  Holed region;
  for (uint64_t window = 0; window < 3; window++) {
    for (const PageIndex page : {0, 20}) region.Fill({window * kWindowPages + page, 1});
  }
  size_t drops = 0;
  region.meanwhile = [&] {
    TablePages& tables = region.table().tables();
    for (uint64_t window = 0; window < 3; window++) {
      CHECK_EQ(tables.IsClosed(window * kWindowPages), window == drops);
    }
    drops++;
  };
  CHECK_EQ(region.Reclaim(), 6u);
  CHECK_EQ(drops, 3u);
}

// Two clients, in the same windows, with far more pages than frames.
FARPAGE_TEST(memory_given_back_takes_no_byte_of_pages_that_come_and_go) {
  constexpr uint64_t kWindows = 2;
  ApplianceOptions options;
  options.frames_max = 96;
  options.nic_threads = 2;
  Appliance appliance(options);
  appliance.UseTiers(16, 4096);
  const uint32_t stag =
      appliance.OpenAnonymous(kWindows * kWindowBytes, FillValueStore::Value::kZero);
  const uint64_t pages = kWindows * kWindowPages;
  const auto work = [&](uint64_t part, uint32_t seed) {
    auto initiator = appliance.Connect();
    std::mt19937 random(seed);
    std::vector<uint64_t> values(pages, 0);
    for (int step = 0; step < 3000; step++) {
      const PageIndex page = random() % (pages / 2) * 2 + part;
      const uint64_t offset = (page << kPageShift) + 64;
      uint64_t value = 0;
      if (random() % 3 == 0) {
        value = ++values[page];
        REQUIRE(Write(*initiator, stag, offset, &value, sizeof value).code == Code::kOk);
      } else {
        // Two pages, so that the other client's are filled by this one too.
        std::vector<std::byte> found(2 * kPageBytes);
        const uint64_t from = std::min(page, pages - 2) << kPageShift;
        REQUIRE(Read(*initiator, stag, from, found.data(), uint32_t(found.size())).code ==
                Code::kOk);
        std::memcpy(&value, found.data() + (offset - from), sizeof value);
        REQUIRE(value == values[page]);
      }
    }
  };
  std::thread other([&] { work(1, 2); });
  work(0, 1);
  other.join();
}

}  // namespace farpage::test
