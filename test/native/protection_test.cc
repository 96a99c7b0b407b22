// Permissions of ranges: the list, and what words and operations make of it.
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "elsewhere.h"
#include "faulty_fixture.h"
#include "memory/protection.h"
#include "stores/kept_store.h"

namespace farpage::test {
namespace {

constexpr int kAccessTerminate = 0x000102;  // RDMAP, remote protection error, access violation

Permission At(const Protection& protection, PageIndex page) {
  return Protection::View(protection).Find(page);
}

Status Protect(Appliance& appliance, PageRun run, Permission permission) {
  return appliance.pager.indicators().Protect(*appliance.region, run, permission);
}

// A READ, WRITE or atomic on a connection of its own.
Completion Once(Appliance& appliance, uint32_t stag, Opcode opcode, uint64_t offset,
                uint8_t flags = kFlagAnyOrder | kFlagReason) {
  auto initiator = appliance.Connect(false, false, 8, flags);
  if (initiator == nullptr) return {0, Code::kInternal};
  std::array<std::byte, 8> bytes{std::byte{7}};
  if (opcode == Opcode::kRead) return Read(*initiator, stag, offset, bytes.data(), 8);
  if (opcode == Opcode::kWrite) return Write(*initiator, stag, offset, bytes.data(), 8);
  WorkRequest request;
  request.opcode = opcode;
  request.stag = stag;
  request.remote_offset = offset;
  request.operand = 1;
  return Do(*initiator, request);
}

int CodeOf(Appliance& appliance, uint32_t stag, Opcode opcode, uint64_t offset) {
  return int(Once(appliance, stag, opcode, offset).code);
}

constexpr int kFine = int(Code::kOk);
constexpr int kRefused = int(Code::kAccess);

}  // namespace

FARPAGE_TEST(protection_list_is_what_was_set_last_page_by_page) {
  std::mt19937_64 random(7);
  Protection protection;
  constexpr uint64_t kPages = 40;
  std::array<Permission, kPages> model;
  model.fill(Permission::kReadWrite);
  for (int round = 0; round < 2000; round++) {
    const PageIndex first = random() % kPages;
    const PageRun run{first, random() % (kPages - first + 1)};
    const auto permission = static_cast<Permission>(random() % 3);
    REQUIRE(protection.Set(run, permission).ok());
    for (PageIndex page = run.first; page < run.end(); page++) model[page] = permission;
    const auto ranges = protection.Ranges();
    for (size_t n = 0; n + 1 < ranges.size(); n++) {
      const bool apart = ranges[n].run.end() < ranges[n + 1].run.first;
      const bool touch = ranges[n].run.end() == ranges[n + 1].run.first;
      CHECK(apart || (touch && ranges[n].permission != ranges[n + 1].permission));
    }
    const Protection::View view(protection);
    for (PageIndex page = 0; page < kPages; page++) {
      CHECK(view.Find(page) == model[page]);
      CHECK_EQ(view.Forbidden(page), ForbiddenBy(model[page]));
      for (const PageWord right : {kReadable, kWritable}) {
        PageIndex end = page;
        while (end < kPages && (ForbiddenBy(model[end]) & right) == 0) end++;
        CHECK_EQ(view.Permitted({page, kPages - page}, right), end - page);
      }
    }
  }
  CHECK(protection.Set({0, kPages}, Permission::kReadWrite).ok());
  CHECK(protection.Ranges().empty());
}

FARPAGE_TEST(protection_list_has_a_bound_and_stays_as_it_was_beyond_it) {
  Protection protection;
  for (uint64_t n = 0; n < kProtectedRangesMax; n++) {
    REQUIRE(protection.Set({2 * n, 1}, Permission::kRead).ok());
  }
  const auto before = protection.Ranges();
  CHECK_EQ(before.size(), kProtectedRangesMax);
  const Status refused = protection.Set({1u << 20, 1}, Permission::kNone);
  REQUIRE(!refused.ok());
  CHECK_EQ(int(refused.error().code), int(Code::kQuota));
  CHECK(protection.Ranges() == before);
  // What joins neighbours finds room at any time.
  CHECK(protection.Set({1, 1}, Permission::kRead).ok());
  CHECK_EQ(protection.Ranges().size(), kProtectedRangesMax - 1);
  CHECK(At(protection, 1) == Permission::kRead);
}

FARPAGE_TEST(protection_set_waits_for_looks_at_an_older_list) {
  Protection protection;
  std::atomic<bool> set{false};
  std::thread setter;
  {
    const Protection::View view(protection);
    setter = std::thread([&] {
      CHECK(protection.Set({0, 1}, Permission::kNone).ok());
      set.store(true);
    });
    Nap(20);
    CHECK(!set.load());
    CHECK_EQ(view.Forbidden(0), 0u);
  }
  setter.join();
  CHECK(set.load());
  CHECK(At(protection, 0) == Permission::kNone);
}

FARPAGE_TEST(protection_refuses_what_it_forbids_and_nothing_else) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(64 * kPageBytes, FillValueStore::Value::kOne);
  auto bystander = appliance.Connect();
  std::array<std::byte, 8> bytes{};
  CHECK_EQ(CodeOf(appliance, stag, Opcode::kWrite, 2 * kPageBytes), kFine);
  REQUIRE(Protect(appliance, {2, 2}, Permission::kNone).ok());
  const uint64_t filled = appliance.region->fills.filled_pages.load();
  // Present and dirty, and absent.
  for (const PageIndex page : {PageIndex{2}, PageIndex{3}}) {
    for (const Opcode opcode :
         {Opcode::kRead, Opcode::kWrite, Opcode::kFetchAdd, Opcode::kCompareSwap}) {
      CHECK_EQ(CodeOf(appliance, stag, opcode, page * kPageBytes), kRefused);
      // Without our own reason, as any RDMA client is told.
      const Completion plain = Once(appliance, stag, opcode, page * kPageBytes, 0);
      CHECK_EQ(int(plain.code), kRefused);
      CHECK_EQ(plain.terminate, kAccessTerminate);
    }
  }
  CHECK_EQ(appliance.region->fills.filled_pages.load(), filled);
  CHECK_EQ(appliance.region->table->dirty(), 1u);
  CHECK_EQ(int(Read(*bystander, stag, kPageBytes, bytes.data(), 8).code), kFine);

  REQUIRE(Protect(appliance, {2, 2}, Permission::kRead).ok());
  for (const PageIndex page : {PageIndex{2}, PageIndex{3}}) {
    CHECK_EQ(CodeOf(appliance, stag, Opcode::kRead, page * kPageBytes), kFine);
    CHECK_EQ(CodeOf(appliance, stag, Opcode::kWrite, page * kPageBytes), kRefused);
    CHECK_EQ(CodeOf(appliance, stag, Opcode::kFetchAdd, page * kPageBytes), kRefused);
  }
  CHECK_EQ(appliance.region->table->dirty(), 1u);
  REQUIRE(Protect(appliance, {3, 1}, Permission::kReadWrite).ok());
  CHECK_EQ(CodeOf(appliance, stag, Opcode::kWrite, 3 * kPageBytes), kFine);
  CHECK_EQ(CodeOf(appliance, stag, Opcode::kWrite, 2 * kPageBytes), kRefused);
  CHECK_EQ(int(Read(*bystander, stag, 2 * kPageBytes, bytes.data(), 8).code), kFine);
  CHECK(bytes[0] == std::byte{7});
}

// Neither the end of a write-back nor that of a failed one gives a right back.
FARPAGE_TEST(protection_outlasts_write_backs_and_dirty_pages_are_written) {
  for (const bool fails : {false, true}) {
    FaultyAppliance a({});
    a.memory->private_copies = true;
    for (PageIndex page = 0; page < 4; page++) {
      CHECK_EQ(CodeOf(a.appliance, a.stag, Opcode::kWrite, page * kPageBytes), kFine);
    }
    REQUIRE(Protect(a.appliance, {0, 2}, Permission::kNone).ok());
    REQUIRE(Protect(a.appliance, {2, 2}, Permission::kRead).ok());
    CHECK_EQ(a.appliance.region->table->dirty(), 4u);
    if (fails) a.plan.Arm(kFaultySync, 1);
    CHECK_EQ(a.appliance.Sync().ok(), !fails);
    CHECK_EQ(a.appliance.region->table->dirty(), fails ? 4u : 0u);
    CHECK_EQ(CodeOf(a.appliance, a.stag, Opcode::kRead, 0), kRefused);
    CHECK_EQ(CodeOf(a.appliance, a.stag, Opcode::kWrite, 2 * kPageBytes), kRefused);
    CHECK(a.appliance.Sync().ok());
    CHECK(a.store->Durable()[0] == std::byte{7});
    REQUIRE(Protect(a.appliance, {0, 4}, Permission::kReadWrite).ok());
    CHECK_EQ(CodeOf(a.appliance, a.stag, Opcode::kWrite, 0), kFine);
    CHECK_EQ(a.appliance.region->table->dirty(), 1u);
  }
}

// Once Protect has returned no word has a right it forbids, whatever fills, writes and evicts.
FARPAGE_TEST(protection_holds_against_fills_writers_and_evictions) {
  for (const bool in_place : {true, false}) {
    FaultyAppliance a({});
    a.memory->in_place = in_place;
    Appliance& appliance = a.appliance;
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> done{0};
    std::vector<std::thread> threads;
    for (const Opcode opcode : {Opcode::kRead, Opcode::kRead, Opcode::kWrite}) {
      const uint64_t seed = threads.size();
      threads.emplace_back([&, opcode, seed] {
        std::mt19937_64 random(seed);
        while (!stop.load()) {
          const Code code = Once(appliance, a.stag, opcode, (random() % 8) * kPageBytes).code;
          CHECK(code == Code::kOk || code == Code::kAccess || code == Code::kConnection ||
                code == Code::kOutcomeUnknown);
          if (code == Code::kOk) done++;
        }
      });
    }
    threads.emplace_back([&] {
      while (!stop.load()) {
        appliance.pager.indicators().Invalidate(appliance.region, {0, 8}, DirtyRule::kDiscard);
        (void)appliance.Sync();
      }
    });
    PageTable& table = *appliance.region->table;
    for (int round = 0; round < 60; round++) {
      for (const Permission permission : {Permission::kNone, Permission::kRead}) {
        CHECK(Protect(appliance, {0, 8}, permission).ok());
        const PageWord forbidden = ForbiddenBy(permission);
        for (int look = 0; look < 50; look++) {
          for (PageIndex page = 0; page < 8; page++) {
            CHECK_EQ(table.Load(page) & forbidden, 0u);
          }
          std::this_thread::yield();
        }
      }
      CHECK(Protect(appliance, {0, 8}, Permission::kReadWrite).ok());
      const uint64_t before = done.load();
      const uint64_t deadline = NowNs() + 10'000'000'000;
      while (done.load() < before + 3 && NowNs() < deadline) Nap(1);
      CHECK(done.load() >= before + 3);
    }
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    CheckQuiet(appliance);
  }
}

// The cost is that of the present pages: a range of 1 TiB with a few of them.
FARPAGE_TEST(protection_of_a_tebibyte_looks_at_present_pages_only) {
  Appliance appliance;
  const uint64_t size = kSparseBytes;
  const uint32_t stag = appliance.OpenAnonymous(size, FillValueStore::Value::kZero);
  for (const uint64_t offset : {uint64_t{0}, size / 2, size - 4096}) {
    CHECK_EQ(CodeOf(appliance, stag, Opcode::kRead, offset), kFine);
  }
  const PageRun all{0, appliance.region->table->pages()};
  const uint64_t before = appliance.pager.shootdown().grace_periods();
  REQUIRE(Protect(appliance, all, Permission::kNone).ok());
  CHECK_EQ(appliance.pager.shootdown().grace_periods() - before, 1u);
  for (const uint64_t offset : {uint64_t{0}, size / 2, size - 4096, size / 16}) {
    CHECK_EQ(CodeOf(appliance, stag, Opcode::kRead, offset), kRefused);
  }
  REQUIRE(Protect(appliance, {0, ~uint64_t{0} >> 20}, Permission::kReadWrite).ok());
  CHECK_EQ(CodeOf(appliance, stag, Opcode::kRead, size / 2), kFine);
  CHECK(appliance.region->protection->Ranges().empty());
}

// A READ that waits for a page when it is taken away ends with the same answer.
FARPAGE_TEST(protection_reaches_operations_that_wait_for_their_page) {
  FaultyAppliance a({});
  a.memory->hold_fills.store(true);
  std::vector<std::byte> into;
  auto initiator = a.appliance.Connect();
  PostReads(*initiator, a.stag, 1, 64, into);
  a.AwaitFills(1);
  REQUIRE(Protect(a.appliance, {0, 1}, Permission::kNone).ok());
  a.memory->hold_fills.store(false);
  CHECK_EQ(int(AwaitAll(*initiator)), kRefused);
  CheckQuiet(a.appliance);
}

// What is half sent is not sent on: the stream ends, and the READ meets the answer by itself.
FARPAGE_TEST(protection_ends_an_answer_that_is_half_sent) {
  Appliance appliance;
  const uint64_t size = 16u << 20;
  const uint32_t stag = appliance.OpenAnonymous(size, FillValueStore::Value::kOne);
  auto initiator = appliance.Connect();
  std::vector<std::byte> into(1u << 20);
  for (uint64_t n = 0; n < 16; n++) {
    CHECK_EQ(int(Read(*initiator, stag, n << 20, into.data(), 1u << 20).code), kFine);
  }
  // More than sockets hold; nobody takes it until the pages are forbidden.
  for (uint64_t n = 0; n < 16; n++) {
    WorkRequest request;
    request.id = n;
    request.stag = stag;
    request.remote_offset = n << 20;
    request.length_bytes = 1u << 20;
    request.local = into.data();
    CHECK_EQ(initiator->Post({&request, 1}), 1u);
  }
  initiator->Flush();
  Nap(50);
  REQUIRE(Protect(appliance, {0, size >> kPageShift}, Permission::kNone).ok());
  const Code code = AwaitAll(*initiator);
  CHECK(code == Code::kConnection || code == Code::kAccess);
  CHECK_EQ(CodeOf(appliance, stag, Opcode::kRead, 0), kRefused);
}

// Memory is for what somebody may read; a copy wants all of its source all the same.
FARPAGE_TEST(protection_keeps_a_prefetch_from_what_nobody_may_read_but_no_pull_of_a_copy) {
  static constexpr uint64_t kAll = 600;
  const auto prefetched = [](Appliance& appliance) {
    Indicators& indicators = appliance.pager.indicators();
    CHECK(indicators.Protect(*appliance.region, {8, 100}, Permission::kNone).ok());
    CHECK(indicators.Protect(*appliance.region, {200, 10}, Permission::kRead).ok());
    std::atomic<bool> ended{false};
    PrefetchReport last;
    appliance.pager.prefetcher().Begin(appliance.region, {0, kAll},
                                       [&](const PrefetchReport& report) {
                                         last = report;
                                         ended = true;
                                       });
    const uint64_t deadline = NowNs() + 30'000'000'000;
    while (!ended && NowNs() < deadline) ::usleep(1000);
    CHECK(ended);
    CHECK(last.outcome.ok());
    CHECK_EQ(last.passed_pages, uint64_t{kAll});
    return last.filled_pages;
  };
  Appliance plain;
  plain.OpenAnonymous(kAll << kPageShift, FillValueStore::Value::kZero);
  CHECK_EQ(prefetched(plain), kAll - 100);
  CHECK_EQ(plain.region->table->present(), kAll - 100);

  Appliance copy;
  auto kept = KeptStore::Open(copy.folder.File("kept"), kAll << kPageShift, true,
                              std::make_unique<Elsewhere>());
  REQUIRE(kept.ok());
  copy.OpenStaged(kAll << kPageShift, std::move(kept).value());
  CHECK_EQ(prefetched(copy), kAll);
  CHECK_EQ(Prefetcher::NeededPages(*copy.region, {0, kAll}), 0u);
}

}  // namespace farpage::test
