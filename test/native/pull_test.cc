// What a pull owes to a store that fails: bytes count as kept only when a sync has said so.
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "check.h"
#include "quiet.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 5 * kPrefetchRunPages + 7;
constexpr uint64_t kPatienceNs = 20'000'000'000;

std::byte ByteOf(PageIndex page) { return static_cast<std::byte>(page * 31 + 5); }

// A store over a source, that loses what a failed sync was to make durable, as a kernel does.
class LossyStore final : public PageStore {
 public:
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    const std::lock_guard lock(mutex_);
    const auto origin = [&](PageIndex page) {
      return written_.contains(page) ? PageOrigin::kKept : PageOrigin::kRemote;
    };
    uint64_t pages = 1;
    while (pages < run.count && origin(run.first + pages) == origin(run.first)) pages++;
    return {origin(run.first), pages};
  }
  [[nodiscard]] bool keeps_what_it_pulls() const override { return true; }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override { done(Read(run, into)); }
  Status Read(PageRun run, std::byte* into) override {
    for (PageIndex page = run.first; page < run.end(); page++, into += kPageBytes) {
      std::memset(into, static_cast<int>(ByteOf(page)), kPageBytes);
    }
    return {};
  }
  Status Write(std::span<PageImage> images) override {
    for (PageImage& image : images) {
      {
        const std::lock_guard lock(mutex_);
        for (PageIndex page = image.run.first; page < image.run.end(); page++) {
          const size_t at = (page - image.run.first) << kPageShift;
          if (image.bytes[at] != ByteOf(page)) wrong_++;
          if (page >= full_from) {
            image.outcome = Error{Code::kNoSpace, 0, "says the test"};
            continue;
          }
          written_.insert(page);
          under_way_.insert(page);
        }
      }
      on_write(image.run);
    }
    return {};
  }
  Status MakeDurable() override {
    const std::lock_guard lock(mutex_);
    const bool fails = fails_next.exchange(false);
    if (!fails) durable_.insert(under_way_.begin(), under_way_.end());
    under_way_.clear();
    if (fails) return Error{Code::kIo, 0, "says the test"};
    return {};
  }
  uint64_t durable_pages() {
    const std::lock_guard lock(mutex_);
    return durable_.size();
  }
  uint64_t wrong_pages() {
    const std::lock_guard lock(mutex_);
    return wrong_;
  }

  std::function<void(PageRun)> on_write = [](PageRun) {};
  std::atomic<bool> fails_next{false};
  std::atomic<PageIndex> full_from{~PageIndex{0}};

 private:
  mutable std::mutex mutex_;
  std::set<PageIndex> written_;
  std::set<PageIndex> under_way_;
  std::set<PageIndex> durable_;
  uint64_t wrong_ = 0;
};

struct Pull {
  Pull() {
    auto owned = std::make_unique<LossyStore>();
    store = owned.get();
    stag = appliance.OpenStaged(kPages << kPageShift, std::move(owned));
  }
  void Begin() {
    appliance.pager.prefetcher().Begin(appliance.region, {0, kPages},
                                       [this](const PrefetchReport& told) {
                                         const std::lock_guard lock(mutex_);
                                         report = told;
                                         ended_ = true;
                                         wake_.notify_all();
                                       });
  }
  bool Ends() {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, std::chrono::nanoseconds(kPatienceNs), [this] { return ended_; });
  }
 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;

 public:
  LossyStore* store = nullptr;
  uint32_t stag = 0;
  PrefetchReport report;
  Appliance appliance;  // goes first: nothing of it calls back afterwards
};

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
