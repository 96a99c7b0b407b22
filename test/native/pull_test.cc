// What a pull owes to a store that fails: bytes count as kept only when a sync has said so.
#include <thread>
#include <vector>

#include "check.h"
#include "lossy_store.h"
#include "quiet.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = kPulledPages;
constexpr uint64_t kPatienceNs = kPullPatienceNs;

std::byte ByteOf(PageIndex page) { return LossyStore::ByteOf(page); }

}  // namespace

FARPAGE_TEST(pull_ends_when_the_store_has_every_page_for_good) {
  Pull pull;
  pull.Begin();
  REQUIRE(pull.Ends());
  CHECK(pull.report.outcome.ok());
  CHECK_EQ(pull.report.filled_pages, kPages);
  CHECK_EQ(pull.store->durable_pages(), kPages);
  CHECK_EQ(pull.store->wrong_pages(), 0u);
  CHECK_EQ(pull.appliance.region->table->present(), kPages);
  CHECK_EQ(pull.appliance.region->table->dirty(), 0u);
  CHECK_EQ(pull.appliance.region->table->written(), 0u);
  auto initiator = pull.appliance.Connect();
  std::byte byte{};
  for (PageIndex page = 0; page < kPages; page++) {
    const uint64_t at = ((page + 1) << kPageShift) - 1;
    CHECK_EQ(int(Read(*initiator, pull.stag, at, &byte, 1).code), int(Code::kOk));
    CHECK(byte == ByteOf(page));
  }
}

// The sync fails when a run has been written and is not installed yet: it tells of the failure
// once, and knows nothing of these pages.
FARPAGE_TEST(pull_writes_again_what_a_failed_sync_did_not_know) {
  Pull pull;
  Region& region = *pull.appliance.region;
  auto initiator = pull.appliance.Connect();
  const std::vector<std::byte> own(kPageBytes, ByteOf(0));  // something to be synced
  CHECK_EQ(int(Write(*initiator, pull.stag, 0, own.data(), 4096).code), int(Code::kOk));
  std::atomic<bool> stored{false};
  pull.store->on_write = [&](PageRun run) {
    if (run.first == 0 || stored.exchange(true)) return;
    const uint64_t deadline = NowNs() + kPatienceNs;
    while (region.fills.failed_syncs.load() == 0 && NowNs() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  pull.Begin();
  const uint64_t deadline = NowNs() + kPatienceNs;
  while (!stored.load() && NowNs() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  REQUIRE(stored.load());
  pull.store->fails_next = true;
  const auto synced = pull.appliance.Sync({0, 1}, true);
  CHECK(!synced.ok());
  REQUIRE(pull.Ends());
  CHECK(pull.report.outcome.ok());
  CHECK_EQ(region.table->dirty(), 0u);
  CHECK_EQ(pull.store->durable_pages(), kPages);
  CHECK_EQ(pull.store->wrong_pages(), 0u);
}

FARPAGE_TEST(pull_into_a_full_store_fails_and_loses_nothing) {
  Pull pull;
  pull.store->full_from = 2 * kPrefetchRunPages;
  pull.Begin();
  REQUIRE(pull.Ends());
  REQUIRE(!pull.report.outcome.ok());
  CHECK_EQ(int(pull.report.outcome.error().code), int(Code::kNoSpace));
  CHECK(pull.appliance.region->table->dirty() > 0);
  pull.store->full_from = ~PageIndex{0};
  const uint64_t came = pull.appliance.region->table->present();
  CHECK(pull.appliance.Sync().ok());
  CHECK_EQ(pull.appliance.region->table->dirty(), 0u);
  CHECK_EQ(pull.store->durable_pages(), came);
  CHECK_EQ(pull.store->wrong_pages(), 0u);
  CheckQuiet(pull.appliance);
}

}  // namespace farpage::test
