// What scattered pages cost besides themselves: counted, bounded with them, and given back.
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "appliance_fixture.h"
#include "check.h"
#include "os/drop_pages.h"
#include "os/process_memory.h"

namespace farpage::test {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;  // whose own tables are in every figure of the kernel's
#else
constexpr bool kSanitized = false;
#endif

constexpr uint64_t kGib = uint64_t{1} << 30;
// What operations under way may take beyond the budget, as tests with one client have them.
constexpr uint64_t kUnderWay = 32;

uint64_t PagesFor(uint64_t bytes) { return bytes >> kPageShift; }

// Tables that stay for good where all of a region was touched.
uint64_t Lasting(uint64_t bytes) { return (bytes + kGib - 1) / kGib * kTablesPerGib; }

// Kernels that free no tables by advice are served by another way; both are walked.
struct TablesStay {
  explicit TablesStay(bool stay) { PretendTablesStay(stay); }
  ~TablesStay() { PretendTablesStay(false); }
};

// A part of a page may be answered without a frame for it; more of them need theirs.
void ScatteredReadsStayInBudget(bool stay, uint32_t bytes) {
  const TablesStay pretend(stay);
  ApplianceOptions options;
  options.frames_max = 512;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenAnonymous(16 * kGib, FillValueStore::Value::kOne);
  auto initiator = appliance.Connect();
  const FrameBudget& budget = appliance.pager.budget();
  const uint64_t base = ProcessMemory::Now().table_bytes;
  uint64_t tables_max = 0;
  for (uint64_t offset = 0; offset < 16 * kGib; offset += kWindowBytes * 2) {
    std::vector<std::byte> found(bytes);
    REQUIRE(Read(*initiator, stag, offset, found.data(), bytes).code == Code::kOk);
    CHECK(found == std::vector<std::byte>(bytes, std::byte{0xff}));
    tables_max = std::max(tables_max, budget.all_tables());
    CHECK(budget.used() <= budget.max() + kUnderWay);
  }
  // More tables than pages, and all of it within the budget.
  CHECK(tables_max > budget.max() / 3);
  CHECK(appliance.region->table->present() < budget.max() * 3 / 4);
  if (!kSanitized) {
    const uint64_t tables = ProcessMemory::Now().table_bytes - base;
    CHECK(PagesFor(tables) <= budget.all_tables() + kUnderWay);
  }
  appliance.pager.Reclaim(appliance.region, {0, appliance.region->table->pages()});
  CHECK_EQ(appliance.region->table->present(), 0u);
  CHECK_EQ(budget.all_tables(), Lasting(16 * kGib));
  if (!kSanitized) {
    const uint64_t tables = ProcessMemory::Now().table_bytes - base;
    CHECK(PagesFor(tables) <= Lasting(16 * kGib) + kUnderWay);
  }
  appliance.RemoveRegion();
  CHECK_EQ(budget.all_tables(), 0u);
  CHECK_EQ(budget.used(), 0u);
}

}  // namespace

FARPAGE_TEST(tables_of_scattered_pages_are_counted_and_given_back) {
  ScatteredReadsStayInBudget(false, uint32_t(2 * kPageBytes));
}

FARPAGE_TEST(tables_of_pages_that_are_answered_without_a_frame_are_given_back) {
  ScatteredReadsStayInBudget(false, 1);
}

FARPAGE_TEST(tables_of_scattered_pages_are_given_back_by_mapping_over) {
  ScatteredReadsStayInBudget(true, uint32_t(2 * kPageBytes));
}

// Pages come and go in few windows, so that tables are given back under who comes next.
void PagesSurviveTheirTables(bool stay, bool mapped) {
  const TablesStay pretend(stay);
  // Few enough for all of their tables to be among those that are free.
  constexpr uint64_t kWindows = 24;
  ApplianceOptions options;
  options.frames_max = 12;
  options.nic_threads = 2;
  Appliance appliance(options);
  appliance.UseTiers(16, 4096);
  uint32_t stag = 0;
  if (mapped) {
    const std::string path = appliance.folder.File("data");
    { std::ofstream file(path); }
    REQUIRE(::truncate(path.c_str(), off_t(kWindows * kWindowBytes)) == 0);
    stag = appliance.OpenFile(path, true);
  } else {
    stag = appliance.OpenAnonymous(kWindows * kWindowBytes, FillValueStore::Value::kZero);
  }
  // Each thread has windows of its own, and a word in each of which it knows the value.
  const auto work = [&](uint64_t part, uint32_t seed) {
    auto initiator = appliance.Connect();
    std::mt19937 random(seed);
    std::vector<uint64_t> values(kWindows, 0);
    for (int step = 0; step < 1500; step++) {
      const uint64_t window = (random() % (kWindows / 2)) * 2 + part;
      const uint64_t offset = window * kWindowBytes + (window % 7 << kPageShift) + 64;
      uint64_t value = 0;
      if (random() % 3 == 0) {
        value = ++values[window];
        REQUIRE(Write(*initiator, stag, offset, &value, sizeof value).code == Code::kOk);
      } else {
        REQUIRE(Read(*initiator, stag, offset, &value, sizeof value).code == Code::kOk);
        REQUIRE(value == values[window]);
      }
    }
  };
  std::thread other([&] { work(1, 2); });
  work(0, 1);
  other.join();
  REQUIRE(appliance.Sync().ok() || !mapped);
}

FARPAGE_TEST(tables_are_given_back_under_staged_pages_that_come_and_go) {
  PagesSurviveTheirTables(false, false);
  PagesSurviveTheirTables(true, false);
}

FARPAGE_TEST(tables_are_given_back_under_mapped_pages_that_come_and_go) {
  PagesSurviveTheirTables(false, true);
  PagesSurviveTheirTables(true, true);
}

// What must not happen between the last page of a window and its tables, one step at a time.
FARPAGE_TEST(tables_are_not_given_back_under_a_page_and_no_page_comes_while_they_go) {
  Appliance appliance;
  const uint32_t stag =
      appliance.OpenAnonymous(4 * kWindowBytes, FillValueStore::Value::kZero);
  Region& region = *appliance.region;
  TablePages& tables = region.table->tables();
  tables.Enter(3);
  tables.Leave(3);
  REQUIRE(tables.has_emptied());
  tables.Enter(4);
  CHECK(tables.TakeEmptied() == std::vector<uint64_t>{0});
  CHECK(!tables.Close(0));  // it has a page again
  tables.Leave(4);
  CHECK(tables.TakeEmptied() == std::vector<uint64_t>{0});
  REQUIRE(tables.Close(0));
  CHECK_EQ(Filler::Claim(region, {7, 1}), 0u);
  std::atomic<bool> entered{false};
  std::thread late([&] {
    tables.Enter(5);
    entered = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(!entered);
  tables.Open(0, true);
  late.join();
  auto initiator = appliance.Connect();
  std::byte one;
  CHECK_EQ(int(Read(*initiator, stag, 7 << kPageShift, &one, 1).code), int(Code::kOk));
  tables.Leave(5);
}

FARPAGE_TEST(tables_leave_pages_a_part_of_the_budget) {
  constexpr uint64_t kMax = 160;
  constexpr uint64_t kLeast = kMax / kLeastPagesPart;
  FrameBudget budget(kMax);
  REQUIRE(budget.TryTake(kLeast + 20));
  budget.TakeTables(kFreeTables + 200);
  CHECK(!budget.TryTake(1));
  CHECK(budget.IsFullOfTables());
  budget.Return(30);
  CHECK(budget.TryTake(kLeast));
  CHECK(!budget.TryTake(1));
  CHECK_EQ(budget.PagesBeyond(0), 0u);  // these stay, however little is free
  budget.ReturnTables(200);
  CHECK(!budget.IsFullOfTables());
  CHECK(budget.TryTake(kMax - kLeast));
  CHECK(!budget.TryTake(1));
}

FARPAGE_TEST(tables_of_pages_in_tiers_are_counted_and_given_back) {
  ApplianceOptions options;
  options.frames_max = 512;
  Appliance appliance(options);
  appliance.UseTiers(4096, 4096);
  const uint32_t stag = appliance.OpenAnonymous(4 * kGib, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  const FrameBudget& budget = appliance.pager.budget();
  constexpr uint64_t kStep = 2 * kWindowBytes;
  constexpr uint64_t kCount = 150;
  for (uint64_t n = 0; n < kCount; n++) {
    REQUIRE(Write(*initiator, stag, n * kStep, &n, sizeof n).code == Code::kOk);
  }
  const PageRun all{0, appliance.region->table->pages()};
  CHECK_EQ(appliance.pager.Demote(appliance.region, all).spilled_pages, kCount);
  const auto of_region = [&] {
    return appliance.region->table->tables().charged() + appliance.region->overlay->table_pages();
  };
  CHECK_EQ(of_region(), budget.all_tables());
  CHECK_EQ(appliance.region->overlay->table_pages(), kCount);
  // A page of words and a page of entries each; the kernel's tables have gone.
  CHECK_EQ(budget.all_tables(), 2 * kCount + Lasting(kCount * kStep));
  CHECK_EQ(budget.pages(), 0u);
  for (uint64_t n = 0; n < kCount; n++) {
    uint64_t value = 0;
    REQUIRE(Read(*initiator, stag, n * kStep, &value, sizeof value).code == Code::kOk);
    CHECK_EQ(value, n);
  }
  CHECK_EQ(appliance.region->table->elsewhere(), 0u);
  CHECK_EQ(appliance.region->overlay->table_pages(), 0u);
  CHECK_EQ(of_region(), budget.all_tables());
  // Words that tell of a page stay: without entries, with the tables of the pages that are here.
  CHECK_EQ(budget.all_tables(), 2 * kCount + Lasting(kCount * kStep));
  appliance.pager.evictor().Discard(appliance.region, all);
  CHECK_EQ(budget.pages(), 0u);
  CHECK_EQ(budget.all_tables(), Lasting(kCount * kStep));
  // The same where they are given up in the tiers.
  for (uint64_t n = 0; n < kCount; n++) {
    REQUIRE(Write(*initiator, stag, n * kStep, &n, sizeof n).code == Code::kOk);
  }
  CHECK_EQ(appliance.pager.Demote(appliance.region, all).spilled_pages, kCount);
  CHECK_EQ(appliance.pager.evictor().Discard(appliance.region, all).evicted_pages, kCount);
  CHECK_EQ(appliance.region->overlay->table_pages(), 0u);
  CHECK_EQ(budget.all_tables(), Lasting(kCount * kStep));
}

// Words of written pages stay. Beyond the budget new parts of a region are refused, and what was
// touched goes on.
FARPAGE_TEST(tables_that_stay_refuse_what_needs_more_of_them) {
  ApplianceOptions options;
  options.frames_max = 128;
  Appliance appliance(options);
  const std::string path = appliance.folder.File("data");
  { std::ofstream file(path); }
  constexpr uint64_t kStep = 2 * kWindowBytes;
  REQUIRE(::truncate(path.c_str(), off_t(8 * kGib)) == 0);
  const uint32_t stag = appliance.OpenFile(path, true);
  auto initiator = appliance.Connect();
  const FrameBudget& budget = appliance.pager.budget();
  Code code = Code::kOk;
  uint64_t written = 0;
  for (; code == Code::kOk && written * kStep < 8 * kGib; written++) {
    code = Write(*initiator, stag, written * kStep, &written, sizeof written).code;
    if (code == Code::kOk) REQUIRE(appliance.Sync(false).ok());
    if (written % 16 == 15) REQUIRE(appliance.Sync().ok());
    CHECK(budget.used() <= budget.max() + budget.max() / kLeastPagesPart + kUnderWay);
  }
  CHECK(code == Code::kMemoryFull);
  CHECK(written > budget.max() / 2);
  REQUIRE(appliance.Sync().ok());
  initiator = appliance.Connect();
  for (uint64_t n = 0; n + 1 < written; n += 7) {
    uint64_t value = 0;
    REQUIRE(Read(*initiator, stag, n * kStep, &value, sizeof value).code == Code::kOk);
    CHECK_EQ(value, n);
  }
}

}  // namespace farpage::test
