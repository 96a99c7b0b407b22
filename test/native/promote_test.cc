// Promotion: many pages on their way at once, and what becomes of those that cannot come.
#include <map>

#include "faulty_fixture.h"
#include "pager/promotion.h"
#include "pool_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = Spiller::kPages;

// A tier at a peer that answers when and what it is told.
class AskedTier final : public Tier {
 public:
  void Put(std::span<TierPage> pages) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (TierPage& page : pages) {
      page.slot = ++last_;
      kept_[page.slot] = {page.bytes, page.bytes + kPageBytes};
    }
    pages_ += pages.size();
  }
  Status Get(TierSlot slot, std::byte* into) override {
    gets_++;
    const std::lock_guard<std::mutex> lock(mutex_);
    std::memcpy(into, kept_[slot].data(), kPageBytes);
    return {};
  }
  void StartGet(TierSlot slot, std::byte* into, TierDone done) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    asked_.push_back({slot, into, std::move(done)});
    most_asked_ = std::max(most_asked_, asked_.size());
  }
  void Free(TierSlot slot) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_.erase(slot);
    pages_--;
  }
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] bool starts_gets() const override { return true; }
  [[nodiscard]] const char* kind() const override { return "asked"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return 0; }

  // Questions that wait for an answer; the most that ever did; those that somebody waited for.
  size_t asked() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return asked_.size();
  }
  size_t most_asked() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return most_asked_;
  }
  uint64_t gets() const { return gets_; }
  // Answers the oldest questions, each with the page or with this code.
  void Answer(size_t count, Code code = Code::kOk) {
    for (size_t n = 0; n < count; n++) {
      std::unique_lock<std::mutex> lock(mutex_);
      if (asked_.empty()) return;
      const Question question = std::move(asked_.front());
      asked_.pop_front();
      if (code == Code::kOk) {
        std::memcpy(question.into, kept_[question.slot].data(), kPageBytes);
      } else {
        std::memset(question.into, 0x5a, kPageBytes / 2);  // as if it broke off there
      }
      lock.unlock();
      question.done(code == Code::kOk ? Status{} : Status{Error{code, 0, "told to"}});
    }
  }

 private:
  struct Question {
    TierSlot slot;
    std::byte* into;
    TierDone done;
  };
  std::atomic<uint64_t> gets_{0};
  std::mutex mutex_;
  std::deque<Question> asked_;
  size_t most_asked_ = 0;
  TierSlot last_ = 0;
  std::map<TierSlot, std::vector<std::byte>> kept_;
};

// Pages in such a tier, and a promotion of all of them under way.
struct Promoting {
  explicit Promoting(uint64_t frames, uint64_t count) : spiller(Levels(), frames), pages(count) {
    for (PageIndex page = 0; page < pages; page++) CHECK(spiller.Put(page, 1) == Code::kOk);
    Pager& pager = spiller.appliance.pager;
    // Again for the last one, which may be held for who wrote it.
    CHECK(Becomes([&] {
      (void)pager.Demote(spiller.appliance.region, {0, kPages});
      return spiller.InTier(kPages).size() == pages;
    }));
    CHECK_EQ(spiller.appliance.region->table->present(), 0u);
    Start();
  }
  ~Promoting() {
    while (!ended) AnswerSome(Code::kOk);
    promoter.join();
  }
  void Start() {
    if (promoter.joinable()) promoter.join();
    ended = false;
    promoter = std::thread([this] {
      Appliance& appliance = spiller.appliance;
      promoted = appliance.pager.Promote(appliance.region, {0, kPages});
      ended = true;
    });
  }
  // One answer, when there is a question.
  void AnswerSome(Code code) {
    tier->Answer(1, code);
    std::this_thread::yield();
  }
  std::vector<std::unique_ptr<Tier>> Levels() {
    auto made = std::make_unique<AskedTier>();
    tier = made.get();
    return Only(std::move(made));
  }
  AskedTier* tier = nullptr;
  Spiller spiller;
  const uint64_t pages;
  std::thread promoter;
  std::atomic<uint64_t> promoted{0};
  std::atomic<bool> ended{false};
};

}  // namespace

FARPAGE_TEST(promote_asks_a_peer_for_many_pages_at_once) {
  Promoting test(1024, kPages);
  REQUIRE(Becomes([&] { return test.tier->asked() == kPromoteFlightPages; }));
  // One run has come, and the next is asked for.
  test.tier->Answer(kPromoteRunPages);
  REQUIRE(Becomes([&] { return test.tier->asked() == kPages - kPromoteRunPages; }));
  CHECK(!test.ended);
  while (!test.ended) test.AnswerSome(Code::kOk);
  CHECK_EQ(test.promoted.load(), kPages);
  CHECK_EQ(test.tier->most_asked(), kPromoteFlightPages);
  CHECK_EQ(test.tier->gets(), 0u);
  CHECK_EQ(test.tier->pages(), 0u);
  Spiller& spiller = test.spiller;
  CHECK_EQ(spiller.appliance.region->table->present(), kPages);
  CHECK_EQ(spiller.appliance.region->table->dirty(), kPages);
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kOk));
  }
}

// Each page by itself: what cannot be had now stays where it is, what is gone is lost, and whoever
// waits for one of them hears so.
FARPAGE_TEST(promote_goes_past_pages_that_cannot_come) {
  Promoting test(1024, 200);
  Spiller& spiller = test.spiller;
  const Region& region = *spiller.appliance.region;
  REQUIRE(Becomes([&] { return test.tier->asked() == 200; }));
  std::atomic<int> waited{-1};
  std::thread waiter([&] {
    const auto user = spiller.appliance.Connect();
    std::byte found{};
    waited = int(Read(*user, spiller.stag, 75 << kPageShift, &found, 1).code);
  });
  REQUIRE(Becomes([&] { return (region.table->Load(75) & kWaiters) != 0; }));
  test.tier->Answer(70);
  test.tier->Answer(10, Code::kTierAway);
  test.tier->Answer(10);
  test.tier->Answer(5, Code::kPageLost);
  test.tier->Answer(105);
  waiter.join();
  CHECK_EQ(waited.load(), int(Code::kTierAway));
  REQUIRE(Becomes([&] { return test.ended.load(); }));
  CHECK_EQ(test.promoted.load(), 185u);
  CHECK_EQ(region.table->present(), 185u);
  CHECK_EQ(region.frames.used(), 185u);
  CHECK_EQ(region.table->lost(), 5u);
  std::vector<PageIndex> away;
  for (PageIndex page = 70; page < 80; page++) away.push_back(page);
  CHECK(spiller.InTier(kPages) == away);
  for (PageIndex page = 90; page < 95; page++) {
    CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kPageLost));
  }
  // Those that were away come with the next one.
  test.Start();
  REQUIRE(Becomes([&] { return test.tier->asked() == 10; }));
  test.tier->Answer(10);
  REQUIRE(Becomes([&] { return test.ended.load(); }));
  CHECK_EQ(test.promoted.load(), 10u);
  for (PageIndex page = 0; page < 200; page++) {
    if (page < 90 || page >= 95) CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kOk));
  }
}

// The frames of pages that could not come are for those behind them.
FARPAGE_TEST(promote_stops_where_memory_ends_and_takes_no_more_than_there_is) {
  Promoting test(24, 100);
  const Region& region = *test.spiller.appliance.region;
  const FrameBudget& budget = test.spiller.appliance.pager.budget();
  const uint64_t room = budget.max() - budget.tables();
  REQUIRE(Becomes([&] { return test.tier->asked() == room; }));
  CHECK(room > 10);
  test.tier->Answer(5, Code::kTierAway);
  test.tier->Answer(room - 5);
  REQUIRE(Becomes([&] { return test.tier->asked() == 5; }));
  CHECK(!test.ended);
  test.tier->Answer(5);
  REQUIRE(Becomes([&] { return test.ended.load(); }));
  CHECK_EQ(test.promoted.load(), room);
  CHECK_EQ(region.table->present(), room);
  CHECK_EQ(region.frames.used(), room);
  CHECK_EQ(test.spiller.InTier(kPages).size(), 100 - room);
}

// The same over the wire: the pool is asked for pages before it has answered for the first one.
FARPAGE_TEST(promote_keeps_a_pool_busy_and_ends_when_that_goes_away) {
  FaultyAppliance other({.pages = 512});
  PoolTier door(0, 60'000'000'000);
  Spiller spiller(Only(door.Take()), 512);
  PoolDoor to;
  to.remote.connect.path = other.appliance.socket_path;
  to.remote.connect.ask.ticket = other.appliance.ticket;
  to.remote.stag = other.stag;
  to.length_bytes = 512 << kPageShift;
  door.tier->Open(std::move(to));
  REQUIRE(door.AwaitState(RemotePool::State::kOpen));
  const auto& region = spiller.appliance.region;
  for (PageIndex page = 0; page < 100; page++) REQUIRE(spiller.Put(page, 1) == Code::kOk);
  Pager& pager = spiller.appliance.pager;
  CHECK_EQ(pager.Demote(region, {0, kPages}).spilled_pages, 100u);
  CHECK_EQ(pager.Promote(region, {0, 10}), 10u);
  // The pool's pages are on its own store now, which does not answer.
  REQUIRE(other.appliance.Sync().ok());
  (void)other.appliance.pager.Reclaim(other.appliance.region, {0, 512});
  other.memory->hold_fills = true;
  uint64_t promoted = 1;
  std::thread promoter([&] { promoted = pager.Promote(region, {0, kPages}); });
  other.AwaitFills(2);
  door.Refuse(Code::kConnection);
  other.appliance.nic->CloseDomain(other.appliance.domain);
  promoter.join();
  CHECK_EQ(promoted, 0u);
  CHECK_EQ(spiller.InTier(kPages).size(), 90u);
  CHECK_EQ(region->table->lost(), 0u);
  CHECK_EQ(region->frames.used(), 10u);
  other.memory->hold_fills = false;
}

}  // namespace farpage::test
