// A prefetch that others wait beside: how much it does between two rests.
#include <condition_variable>
#include <mutex>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

// Somebody asks for a page of the region whenever one is read: there is always a demand.
class Disturbed final : public PageStore {
 public:
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kFile, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  Status Read(PageRun run, std::byte* into) override {
    region->fills.demands.fetch_add(1);
    reads_ns.push_back(NowNs());
    pages += run.count;
    std::fill_n(into, run.length_bytes(), std::byte{7});
    return {};
  }
  Status Write(std::span<PageImage>) override { return Error{Code::kUnsupported, 0, "disturbed"}; }
  Status MakeDurable() override { return {}; }

  Region* region = nullptr;
  std::vector<uint64_t> reads_ns;  // by the prefetch's thread alone
  uint64_t pages = 0;
};

// What it read, and when, of `runs`.
struct Prefetched {
  explicit Prefetched(std::vector<PageRun> runs) {
    auto made = std::make_unique<Disturbed>();
    store = made.get();
    appliance.OpenStaged(uint64_t{1} << 26, std::move(made));
    store->region = appliance.region.get();
    std::mutex mutex;
    std::condition_variable wake;
    bool ended = false;
    (void)appliance.pager.prefetcher().Begin(appliance.region, std::move(runs),
                                             [&](const PrefetchReport& last) {
                                               const std::lock_guard lock(mutex);
                                               CHECK(last.outcome.ok());
                                               ended = true;
                                               wake.notify_all();
                                             });
    std::unique_lock lock(mutex);
    CHECK(wake.wait_for(lock, std::chrono::seconds(30), [&] { return ended; }));
  }
  // A group of pages begins a rest after the one before began; the first is begun undisturbed.
  void CheckRests(uint64_t per_group) const {
    const uint64_t groups = store->reads_ns.size() / per_group;
    CHECK(groups > 10);
    const uint64_t took_ns = store->reads_ns.back() - store->reads_ns[per_group - 1];
    CHECK(took_ns >= (groups - 2) * kPoliteRestNs);
  }
  Appliance appliance;
  Disturbed* store = nullptr;
};

}  // namespace

// However busy the machine is: it may take longer than this, and never less.
FARPAGE_TEST(polite_prefetch_rests_after_as_many_single_pages_as_a_run_has) {
  std::vector<PageRun> runs;
  for (PageIndex page = 0; page < 20 * kPoliteRunPages; page++) runs.push_back({3 * page, 1});
  const Prefetched done(runs);
  CHECK_EQ(done.store->reads_ns.size(), runs.size());
  done.CheckRests(kPoliteRunPages);
  // And not after each of them: two reads of a group are nearer to each other than a rest.
  uint64_t near = 0;
  for (size_t n = 1; n < runs.size(); n++) {
    if (done.store->reads_ns[n] - done.store->reads_ns[n - 1] < kPoliteRestNs) near++;
  }
  CHECK(near > runs.size() / 4);
}

FARPAGE_TEST(polite_prefetch_rests_after_each_small_run) {
  const Prefetched done({{0, 20 * kPoliteRunPages + kPrefetchRunPages}});
  CHECK_EQ(done.store->pages, 20 * kPoliteRunPages + kPrefetchRunPages);
  CHECK_EQ(done.store->reads_ns.size(), 21u);  // the first one was begun before anybody asked
  done.CheckRests(1);
}

}  // namespace farpage::test
