// Working sets: which pages they have, and that these come back and no others.
#include <condition_variable>
#include <fstream>
#include <mutex>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 4000;
constexpr uint64_t kHourNs = 3'600'000'000'000;
constexpr uint64_t kEver = ~uint64_t{0};

Code Touch(Initiator& initiator, uint32_t stag, PageIndex page) {
  std::byte one;
  return Read(initiator, stag, page << kPageShift, &one, 1).code;
}

PrefetchReport Replay(Appliance& appliance, std::vector<PageRun> runs) {
  std::mutex mutex;
  std::condition_variable wake;
  PrefetchReport report;
  bool ended = false;
  (void)appliance.pager.prefetcher().Begin(appliance.region, std::move(runs),
                                           [&](const PrefetchReport& last) {
                                             const std::lock_guard lock(mutex);
                                             report = last;
                                             ended = true;
                                             wake.notify_all();
                                           });
  std::unique_lock lock(mutex);
  CHECK(wake.wait_for(lock, std::chrono::seconds(30), [&] { return ended; }));
  return report;
}

std::vector<PageRun> All(const WorkingSet& found) {
  std::vector<PageRun> runs = found.hot;
  runs.insert(runs.end(), found.warm.begin(), found.warm.end());
  return runs;
}

std::string PageFile(const Appliance& appliance) {
  const std::string path = appliance.folder.File("data");
  std::ofstream out(path, std::ios::binary);
  for (PageIndex page = 0; page < kPages; page++) {
    out << std::string(kPageBytes, static_cast<char>('a' + page % 26));
  }
  return path;
}

}  // namespace

FARPAGE_TEST(working_set_has_what_was_used_and_what_was_used_again_first) {
  ApplianceOptions options;
  options.use_tick_ns = kHourNs;
  options.read_ahead_pages = 64;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenFile(PageFile(appliance), true);
  auto initiator = appliance.Connect();
  for (const PageIndex page : {3000u, 10u, 3001u, 2000u}) {
    REQUIRE(Touch(*initiator, stag, page) == Code::kOk);
  }
  for (int n = 0; n < 3; n++) {
    REQUIRE(Touch(*initiator, stag, 2000) == Code::kOk);
    REQUIRE(Touch(*initiator, stag, 10) == Code::kOk);
  }
  const uint64_t value = 1;
  REQUIRE(Write(*initiator, stag, 500 << kPageShift, &value, sizeof value).code == Code::kOk);
  // What nobody asked for was not used, whoever brought it.
  REQUIRE(Replay(appliance, {{100, 30}}).filled_pages == 30);
  REQUIRE(Touch(*initiator, stag, 110) == Code::kOk);
  WorkingSet found = appliance.pager.WorkingSetOf(*appliance.region, kEver);
  CHECK(found.hot == (std::vector<PageRun>{{10, 1}, {500, 1}, {2000, 1}}));
  CHECK(found.warm == (std::vector<PageRun>{{110, 1}, {3000, 2}}));
  appliance.pager.TickUses();
  appliance.pager.TickUses();
  REQUIRE(Touch(*initiator, stag, 3001) == Code::kOk);
  appliance.pager.TickUses();
  found = appliance.pager.WorkingSetOf(*appliance.region, kHourNs / 1'000'000);
  CHECK(All(found) == (std::vector<PageRun>{{3001, 1}}));
  found = appliance.pager.WorkingSetOf(*appliance.region, 3 * kHourNs / 1'000'000);
  CHECK_EQ(found.hot.size() + found.warm.size(), 6u);
}

// Of more runs than it may have, those that were used again are kept.
FARPAGE_TEST(working_set_has_a_bound_and_the_hottest_are_in_it) {
  constexpr PageIndex kWarm = 100;
  constexpr PageIndex kHot = kWorkingSetRunsMax - kWarm / 2;
  Appliance appliance;
  (void)appliance.OpenAnonymous(2 * (kWarm + kHot + kWarm) << kPageShift,
                                FillValueStore::Value::kZero);
  PageTable& table = *appliance.region->table;
  const auto install = [&](PageIndex first, PageIndex count, PageWord flags) {
    for (PageIndex page = 2 * first; page < 2 * (first + count); page += 2) {
      PageWord word = 0;
      REQUIRE(table.Change(page, word, static_cast<PageWord>(PageState::kFilling)));
      word = table.Load(page);
      REQUIRE(table.Change(page, word, static_cast<PageWord>(PageState::kPresent) | flags));
    }
  };
  install(0, kWarm, kReadable | kTrial);
  install(kWarm, kHot, kReadable);
  WorkingSet found = appliance.pager.WorkingSetOf(*appliance.region, kEver);
  CHECK_EQ(found.hot.size(), kHot);
  CHECK_EQ(found.warm.size(), kWarm / 2);
  CHECK(found.warm.front() == (PageRun{0, 1}));
  install(kWarm + kHot, kWarm, kReadable);
  found = appliance.pager.WorkingSetOf(*appliance.region, kEver);
  CHECK_EQ(found.hot.size(), kWorkingSetRunsMax);
  CHECK_EQ(found.warm.size(), 0u);
}

FARPAGE_TEST(working_set_comes_back_run_by_run_and_nothing_else_does) {
  ApplianceOptions options;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenFile(PageFile(appliance), true);
  // Runs of all sizes, across the chunks that a prefetch takes at once, in no order of pages.
  std::vector<PageRun> runs{{3000, 200}, {5, 1}, {7, 2}, {1000, 65}, {kPages - 1, 1}};
  for (PageIndex page = 1500; page < 1700; page += 2) runs.push_back({page, 1});
  uint64_t pages = 0;
  for (const PageRun& run : runs) pages += run.count;
  const PrefetchReport report = Replay(appliance, runs);
  REQUIRE(report.outcome.ok());
  CHECK_EQ(report.pages, pages);
  CHECK_EQ(report.passed_pages, pages);
  CHECK_EQ(report.filled_pages, pages);
  CHECK(!report.full);
  CHECK_EQ(appliance.region->table->present(), pages);
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      CHECK(StateOf(appliance.region->table->Load(page)) == PageState::kPresent);
    }
  }
  auto initiator = appliance.Connect();
  std::byte found;
  REQUIRE(Read(*initiator, stag, 1600 << kPageShift, &found, 1).code == Code::kOk);
  CHECK_EQ(int(found), 'a' + 1600 % 26);
  // A second time there is nothing to do; runs beyond the end, and none at all, end well.
  CHECK_EQ(Replay(appliance, runs).filled_pages, 0u);
  CHECK_EQ(Replay(appliance, {{kPages - 2, 100}, {kPages + 7, 5}}).filled_pages, 1u);
  CHECK_EQ(Replay(appliance, {}).pages, 0u);
}

FARPAGE_TEST(working_set_larger_than_free_memory_brings_its_first_runs_and_evicts_nothing) {
  ApplianceOptions options;
  options.frames_max = 512;
  options.read_ahead_pages = 0;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenFile(PageFile(appliance), true);
  auto initiator = appliance.Connect();
  for (PageIndex page = 0; page < 100; page++) {
    REQUIRE(Touch(*initiator, stag, page) == Code::kOk);
  }
  std::vector<PageRun> runs;
  for (PageIndex page = kPages - 1; page > 1000; page -= 2) runs.push_back({page, 1});
  const PrefetchReport report = Replay(appliance, runs);
  CHECK(report.outcome.ok());
  CHECK(report.full);
  CHECK(report.filled_pages > 300);
  CHECK(report.filled_pages < 412);
  CHECK_EQ(appliance.pager.evicted_pages(), 0u);
  for (uint64_t n = 0; n < report.filled_pages; n++) {
    CHECK(StateOf(appliance.region->table->Load(runs[n].first)) == PageState::kPresent);
  }
}

}  // namespace farpage::test
