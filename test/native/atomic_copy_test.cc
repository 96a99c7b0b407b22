// A pull and the syncs of an atomic region write one store: which of them writes a page, and who is
// told of a failure.
#include <atomic>
#include <thread>
#include <vector>

#include "check.h"
#include "lossy_store.h"
#include "quiet.h"
#include "slow_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = kPulledPages;
constexpr uint64_t kLastRun = 5 * kPrefetchRunPages;

// What the store checks is that a page has the source's bytes, so these are what is written.
Code Put(Pull& pull, PageIndex page) {
  const auto user = pull.appliance.Connect();
  const std::vector<std::byte> bytes(kPageBytes, LossyStore::ByteOf(page));
  return Write(*user, pull.stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes)).code;
}

uint64_t PagesWith(const Region& region, PageWord flags) {
  uint64_t pages = 0;
  for (PageIndex page = 0; page < kPages; page++) {
    if ((region.table->Load(page) & flags) == flags) pages++;
  }
  return pages;
}

// It has ended well and everything is kept.
void CheckKept(Pull& pull) {
  CHECK(pull.report.outcome.ok());
  CHECK_EQ(pull.store->durable_pages(), kPages);
  CHECK_EQ(pull.store->wrong_pages(), 0u);
  CHECK_EQ(pull.appliance.region->table->dirty(), 0u);
  CheckQuiet(pull.appliance);
}

}  // namespace

FARPAGE_TEST(atomic_copy_keeps_pages_that_were_here_and_asks_for_none_twice) {
  Pull pull(true);
  const auto user = pull.appliance.Connect();
  std::byte byte{};
  for (PageIndex page = 3; page < kPages; page += 5) {
    CHECK_EQ(int(Read(*user, pull.stag, page << kPageShift, &byte, 1).code), int(Code::kOk));
  }
  CHECK_EQ(pull.appliance.region->table->dirty(), 0u);
  pull.Begin();
  REQUIRE(pull.Ends());
  CHECK_EQ(pull.store->pages_read(), kPages);
  CHECK_EQ(pull.appliance.region->table->present(), kPages);
  CHECK_EQ(pull.appliance.region->table->written(), 0u);
  CHECK_EQ(PagesWith(*pull.appliance.region, kStored), kPages);
  CheckKept(pull);
}

FARPAGE_TEST(atomic_copy_leaves_dirty_pages_to_the_next_sync) {
  Pull pull(true);
  Region& region = *pull.appliance.region;
  for (const PageIndex page : {PageIndex{0}, PageIndex{70}, PageIndex{kPages - 1}}) {
    CHECK_EQ(int(Put(pull, page)), int(Code::kOk));
  }
  pull.Begin();
  REQUIRE(pull.Ends());
  CHECK(pull.report.outcome.ok());
  // They are in memory alone, and as of the last sync at the source alone.
  CHECK_EQ(PagesWith(region, kDirty), 3u);
  CHECK_EQ(pull.store->durable_pages(), kPages - 3);
  CHECK_EQ(Prefetcher::NeededPages(region, {0, kPages}), 3u);
  const auto synced = pull.appliance.Sync();
  REQUIRE(synced.ok());
  CHECK_EQ(synced.value().pages_written, 3u);
  CheckKept(pull);
}

// Whoever writes a page that is on its way into the store waits, and is in no pull's write.
FARPAGE_TEST(atomic_copy_lets_nobody_write_a_page_while_a_pull_stores_it) {
  Pull pull(true);
  Region& region = *pull.appliance.region;
  const auto user = pull.appliance.Connect();
  std::byte byte{};
  CHECK_EQ(int(Read(*user, pull.stag, 0, &byte, 1).code), int(Code::kOk));
  Gate gate;
  pull.store->on_write = [&](PageRun run) {
    if (run.first == 0) gate.Pass();
  };
  pull.Begin();
  REQUIRE(gate.AwaitHeld(1));
  CHECK_EQ(int(StateOf(region.table->Load(0))), int(PageState::kCopying));
  CHECK_EQ(int(Read(*user, pull.stag, 0, &byte, 1).code), int(Code::kOk));
  std::atomic<bool> written{false};
  Thread writer("writer", [&] { written = Put(pull, 0) == Code::kOk; });
  CHECK(Await([&] { return (region.table->Load(0) & kWaiters) != 0; }));
  CHECK(!written);
  gate.Open();
  writer.Join();
  CHECK(written);
  REQUIRE(pull.Ends());
  CHECK_EQ(PagesWith(region, kDirty), 1u);
  CHECK(pull.appliance.Sync().ok());
  CheckKept(pull);
}

FARPAGE_TEST(atomic_copy_in_a_full_store_gives_up_what_it_cannot_keep) {
  Pull pull(true);
  Region& region = *pull.appliance.region;
  const auto user = pull.appliance.Connect();
  std::byte byte{};
  const uint64_t here = 3 * kPrefetchRunPages;
  CHECK_EQ(int(Read(*user, pull.stag, here << kPageShift, &byte, 1).code), int(Code::kOk));
  pull.store->full_from = 2 * kPrefetchRunPages;
  pull.Begin();
  REQUIRE(pull.Ends());
  REQUIRE(!pull.report.outcome.ok());
  CHECK_EQ(int(pull.report.outcome.error().code), int(Code::kNoSpace));
  CHECK_EQ(region.table->dirty(), 0u);
  CHECK_EQ(pull.store->durable_pages(), 2 * kPrefetchRunPages);
  CheckQuiet(pull.appliance);
  pull.store->full_from = ~PageIndex{0};
  CHECK_EQ(int(Read(*user, pull.stag, here << kPageShift, &byte, 1).code), int(Code::kOk));
  pull.Begin();
  REQUIRE(pull.Ends());
  CheckKept(pull);
}

// The journal's part waits for the store, and what the pull had brought there may be gone as well.
FARPAGE_TEST(atomic_copy_writes_again_what_a_failed_sync_told_of) {
  Pull pull(true);
  Region& region = *pull.appliance.region;
  CHECK_EQ(int(Put(pull, kPages - 1)), int(Code::kOk));
  pull.store->held_from = kLastRun;
  pull.Begin();
  CHECK(Await([&] { return PagesWith(region, kUnsynced) == kLastRun; }));
  pull.store->fails_next = true;
  CHECK(!pull.appliance.Sync().ok());
  CHECK_EQ(PagesWith(region, kUnsynced), 0u);
  CHECK_EQ(PagesWith(region, kDirty), kLastRun + 1);
  CHECK_EQ(pull.store->durable_pages(), 0u);
  pull.store->Answer();
  REQUIRE(pull.Ends());
  CHECK(pull.appliance.Sync().ok());
  CheckKept(pull);
}

// The sync fails when a run has been written and is not installed yet.
FARPAGE_TEST(atomic_copy_writes_again_what_a_failed_sync_did_not_know) {
  Pull pull(true);
  Region& region = *pull.appliance.region;
  CHECK_EQ(int(Put(pull, 0)), int(Code::kOk));
  Gate gate;
  std::atomic<bool> seen{false};
  pull.store->on_write = [&](PageRun run) {
    if (run.first != 0 && !seen.exchange(true)) gate.Pass();
  };
  pull.Begin();
  REQUIRE(gate.AwaitHeld(1));
  pull.store->fails_next = true;
  CHECK(!pull.appliance.Sync().ok());
  gate.Open();
  REQUIRE(pull.Ends());
  CHECK(PagesWith(region, kDirty) > 1);
  CHECK(pull.appliance.Sync().ok());
  CheckKept(pull);
}

// Else the pull would hear of a lost page of the journal's, and the journal that all is well.
FARPAGE_TEST(atomic_copy_writes_no_sync_while_its_pull_waits_to_be_durable) {
  Pull pull(true);
  Gate gate;
  std::atomic<bool> seen{false};
  pull.store->on_sync = [&] {
    if (!seen.exchange(true)) gate.Pass();
  };
  CHECK_EQ(int(Put(pull, 0)), int(Code::kOk));
  pull.Begin();
  REQUIRE(gate.AwaitHeld(1));
  std::atomic<bool> synced{false};
  std::atomic<bool> begun{false};
  Thread syncing("syncing", [&] {
    begun = true;
    synced = pull.appliance.Sync().ok();
  });
  CHECK(Await([&] { return begun.load(); }));
  Nap(100);  // one that did not wait would have come to its end
  CHECK(!synced);
  pull.store->fails_next = true;
  gate.Open();
  syncing.Join();
  REQUIRE(pull.Ends());
  CHECK(synced);
  CHECK_EQ(int(pull.report.outcome.error().code), int(Code::kIo));
  // What the pull was told of is dirty, and that sync or the next one has it.
  CHECK(pull.appliance.Sync().ok());
  pull.Begin();
  REQUIRE(pull.Ends());
  CheckKept(pull);
}

}  // namespace farpage::test
