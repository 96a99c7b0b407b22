// A prefetch that is cancelled while its source is silent: over at once, and what comes late
// changes nothing.
#include <cstring>
#include <mutex>
#include <vector>

#include "check.h"
#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 4096;
constexpr auto kSourceByte = std::byte{0x5e};

// A source elsewhere that answers when the test says so.
class SilentStore final : public PageStore {
 public:
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    asked_.push_back({run, into, std::move(done)});
  }
  Status Read(PageRun, std::byte*) override { return Error{Code::kUnsupported, 0, "silent"}; }
  Status Write(std::span<PageImage>) override { return Error{Code::kUnsupported, 0, "silent"}; }
  Status MakeDurable() override { return {}; }
  void EndReads() override { Answer(Error{Code::kRegionRemoved, 0, "the region goes"}); }

  // Ends all reads that were asked for.
  void Answer(const Status& status) {
    std::vector<Asked> asked;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      asked.swap(asked_);
    }
    for (Asked& each : asked) {
      if (status.ok()) std::memset(each.into, int(kSourceByte), each.run.length_bytes());
      each.done(status);
    }
  }
  uint64_t pages_asked() {
    const std::lock_guard<std::mutex> lock(mutex_);
    uint64_t pages = 0;
    for (const Asked& each : asked_) pages += each.run.count;
    return pages;
  }

 private:
  struct Asked {
    PageRun run;
    std::byte* into;
    ReadDone done;
  };
  std::mutex mutex_;
  std::vector<Asked> asked_;
};

struct Silent {
  Silent() {
    auto owned = std::make_unique<SilentStore>();
    store = owned.get();
    stag = appliance.OpenStaged(kPages << kPageShift, std::move(owned));
  }
  // Until a prefetch has asked for as many pages as it may.
  bool AwaitAsked(uint64_t pages) const {
    return Await([&] { return store->pages_asked() == pages; });
  }
  std::shared_ptr<Prefetch> Begin() {
    ended = false;
    return appliance.pager.prefetcher().Begin(appliance.region, {0, kPages},
                                              [this](const PrefetchReport& told) {
                                                report = told;
                                                ended = true;
                                              });
  }
  bool Cancel(Prefetch& prefetch) {
    appliance.pager.prefetcher().Cancel(prefetch);
    return Await([&] { return ended.load(); });
  }
  SilentStore* store = nullptr;
  PrefetchReport report;
  std::atomic<bool> ended{false};
  Appliance appliance;
  uint32_t stag = 0;
};

}  // namespace

FARPAGE_TEST(prefetch_cancel_waits_for_no_source_and_what_comes_late_changes_nothing) {
  Silent silent;
  const auto prefetch = silent.Begin();
  REQUIRE(silent.AwaitAsked(kPrefetchFlightPages));
  REQUIRE(silent.Cancel(*prefetch));
  CHECK(!silent.report.outcome.ok() && silent.report.outcome.error().code == Code::kAborted);
  CHECK_EQ(silent.report.passed_pages, 0u);
  CHECK_EQ(silent.appliance.pager.budget().used(), 0u);
  // Somebody else makes one of the pages present and writes it.
  auto user = silent.appliance.Connect();
  std::vector<std::byte> mine(kPageBytes, std::byte{0x11});
  WorkRequest write;
  write.opcode = Opcode::kWrite;
  write.stag = silent.stag;
  write.length_bytes = uint32_t(kPageBytes) - 1;  // all of it needs no read
  write.local = mine.data();
  REQUIRE(user->Post({&write, 1}) == 1u);
  user->Flush();
  // Its read is asked for beside those that nobody wants any more.
  REQUIRE(Await([&] { return silent.store->pages_asked() > kPrefetchFlightPages; }));
  silent.store->Answer({});
  CHECK_EQ(int(AwaitAll(*user)), 0);
  std::byte found{};
  REQUIRE(Read(*user, silent.stag, 0, &found, 1).code == Code::kOk);
  CHECK_EQ(int(found), 0x11);
  CHECK_EQ(silent.appliance.region->fills.abandoned_pages.load(), 0u);
  CHECK_EQ(StateOf(silent.appliance.region->table->Load(kPrefetchFlightPages - 1)),
           PageState::kAbsent);
}

// Who begins and cancels again and again holds no more than so many buffers.
FARPAGE_TEST(prefetch_cancels_pile_up_no_reads) {
  Silent silent;
  for (uint64_t n = 0; n < 2 * kAbandonedPagesMax / kPrefetchFlightPages; n++) {
    const auto prefetch = silent.Begin();
    const uint64_t most = std::min((n + 1) * kPrefetchFlightPages, kAbandonedPagesMax);
    REQUIRE(silent.AwaitAsked(most));
    REQUIRE(silent.Cancel(*prefetch));
  }
  CHECK_EQ(silent.store->pages_asked(), kAbandonedPagesMax);
  // One goes on once they have ended.
  const auto prefetch = silent.Begin();
  silent.store->Answer(Error{Code::kTimeout, 0, "too late"});
  REQUIRE(silent.AwaitAsked(kPrefetchFlightPages));
  silent.appliance.RemoveRegion();
  CHECK(Await([&] { return silent.ended.load(); }));
}

// The other end of a prefetch: its reads may outlive it, and the pager as well.
FARPAGE_TEST(prefetch_that_ends_with_its_pager_leaves_no_late_answer_behind) {
  Silent silent;
  (void)silent.Begin();
  REQUIRE(silent.AwaitAsked(kPrefetchFlightPages));
  silent.appliance.pager.Close();
  CHECK(silent.ended.load());
  silent.store->Answer({});
  CHECK_EQ(silent.appliance.region->fills.abandoned_pages.load(), 0u);
}

}  // namespace farpage::test
