// A tier at another appliance: a second NIC of this process, and everything that may become of it.
#include <fcntl.h>

#include <cstring>
#include <random>

#include "faulty_fixture.h"
#include "pool_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = Spiller::kPages;
using State = RemotePool::State;

// A pool of as many pages as it takes, connected.
struct Pair {
  explicit Pair(uint64_t pool_pages = 4096, uint64_t capacity_bytes = 0)
      : pool(pool_pages), door(capacity_bytes), spiller(Only(door.Take())) {
    door.LetIn(pool, true);
    CHECK(door.AwaitState(State::kOpen));
  }
  Pool pool;
  PoolTier door;
  Spiller spiller;
};

// A pool that can be told not to answer.
struct Hanging {
  static constexpr uint64_t kPoolPages = 512;
  static constexpr uint64_t kPoolBytes = kPoolPages << 12;

  explicit Hanging(uint64_t deadline_ns)
      : other({.pages = kPoolPages}), door(0, deadline_ns), spiller(Only(door.Take())) {
    Open(true);
    CHECK(door.AwaitState(State::kOpen));
    for (PageIndex page = 0; page < 100; page++) CHECK(spiller.Put(page, 1) == Code::kOk);
  }
  void Open(bool fresh) {
    PoolDoor to;
    to.remote.connect.path = other.appliance.socket_path;
    to.remote.connect.ask.ticket = other.appliance.ticket;
    to.remote.stag = other.stag;
    to.length_bytes = kPoolPages << kPageShift;
    to.fresh = fresh;
    door.tier->Open(std::move(to));
  }
  // From now on READs of what is there are not answered; which pages that is.
  std::vector<PageIndex> Hang() {
    std::vector<PageIndex> there = spiller.InTier(100);
    CHECK(there.size() > 50);
    // The pool's pages are on its own store now, which does not answer.
    CHECK(other.appliance.Sync().ok());
    (void)other.appliance.pager.Reclaim(other.appliance.region, {0, kPoolPages});
    other.memory->hold_fills = true;
    return there;
  }
  FaultyAppliance other;
  PoolTier door;
  Spiller spiller;
};

}  // namespace

FARPAGE_TEST(remote_tier_takes_dirty_pages_and_gives_them_back) {
  Pair pair;
  Spiller& spiller = pair.spiller;
  for (PageIndex page = 0; page < kPages; page++) REQUIRE(spiller.Put(page, 1) == Code::kOk);
  CHECK(spiller.appliance.pager.budget().used() <= 24);
  CHECK(pair.door.tier->pages() >= kPages - 24);
  CHECK(Becomes([&] {
    return pair.door.tier->used_bytes() == pair.door.tier->pages() << kPageShift;
  }));
  CHECK_EQ(pair.door.tier->capacity_bytes(), 4096u << kPageShift);
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kOk));
  }
  for (PageIndex page = 0; page < kPages; page += 3) REQUIRE(spiller.Put(page, 2) == Code::kOk);
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK_EQ(int(spiller.Find(page, page % 3 == 0 ? 2 : 1)), int(Code::kOk));
  }
  CheckQuiet(spiller.appliance);
  spiller.appliance.RemoveRegion();
  CHECK_EQ(pair.door.tier->pages(), 0u);
  CHECK_EQ(pair.door.tier->used_bytes(), 0u);
}

// Slots: full is full, what is freed is used again, and never more than was asked for.
FARPAGE_TEST(remote_tier_is_full_at_its_capacity) {
  for (const bool small_pool : {true, false}) {
    Pair pair(small_pool ? 100 : 4096, small_pool ? 0 : 100 << kPageShift);
    CHECK_EQ(pair.door.tier->capacity_bytes(), 100u << kPageShift);
    PageIndex page = 0;
    Code code = Code::kOk;
    while (code == Code::kOk && page < kPages) code = pair.spiller.Put(page++, 1);
    CHECK_EQ(int(code), int(Code::kNoSpace));
    CHECK(page > 100);
    CHECK_EQ(pair.door.tier->used_bytes(), 100u << kPageShift);
    // Every page that was written can be read, and be written again.
    for (PageIndex each = 0; each + 1 < page; each++) {
      CHECK_EQ(int(pair.spiller.Find(each, 1)), int(Code::kOk));
    }
    CHECK(pair.door.tier->used_bytes() <= 100u << kPageShift);
  }
}

FARPAGE_TEST(remote_tier_away_fails_what_is_there_alone_and_nothing_else) {
  Pair pair;
  Spiller& spiller = pair.spiller;
  for (PageIndex page = 0; page < 100; page++) REQUIRE(spiller.Put(page, 1) == Code::kOk);
  pair.door.Refuse(Code::kConnection);
  pair.pool.GoAway();
  REQUIRE(pair.door.AwaitState(State::kAway));
  CHECK(Becomes([&] { return spiller.InTier(100).size() == pair.door.tier->pages(); }));
  const std::vector<PageIndex> there = spiller.InTier(100);
  std::vector<PageIndex> here;
  for (PageIndex page = 0; page < 100; page++) {
    if (!spiller.IsInTier(page)) here.push_back(page);
  }
  REQUIRE(!here.empty() && !there.empty());
  CHECK_EQ(spiller.appliance.region->overlay->unreachable_pages(), there.size());
  for (const PageIndex page : {there.front(), there.back()}) {
    CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kTierAway));
  }
  // What is here is read and written. What would need room finds none: nothing dirty goes.
  for (const PageIndex page : here) {
    CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kOk));
    CHECK_EQ(int(spiller.Put(page, 2)), int(Code::kOk));
  }
  Code full = Code::kOk;
  for (PageIndex page = 200; page < 230 && full == Code::kOk; page++) full = spiller.Put(page, 1);
  CHECK_EQ(int(full), int(Code::kNoSpace));
  CHECK_EQ(spiller.appliance.region->table->lost(), 0u);
  // Back, with all that it had.
  pair.pool.Return();
  pair.door.LetIn(pair.pool, false);
  REQUIRE(pair.door.AwaitState(State::kOpen));
  CHECK_EQ(spiller.appliance.region->overlay->unreachable_pages(), 0u);
  for (const PageIndex page : there) CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kOk));
  for (const PageIndex page : here) CHECK_EQ(int(spiller.Find(page, 2)), int(Code::kOk));
  CHECK_EQ(int(spiller.Put(250, 1)), int(Code::kOk));
  CheckQuiet(spiller.appliance);
}

// A connection that ends is made again, and who waits for a page does not hear of it.
FARPAGE_TEST(remote_tier_sends_again_what_a_connection_left_unanswered) {
  Hanging pair(60'000'000'000);
  const std::vector<PageIndex> there = pair.Hang();
  // A connection that ends within the first second of its life is taken for one of many.
  std::this_thread::sleep_for(std::chrono::nanoseconds(RemotePool::kAskAgainNs));
  Code found = Code::kInternal;
  std::thread reader([&] { found = pair.spiller.Find(there[0], 1); });
  pair.other.AwaitFills(1);
  Appliance& other = pair.other.appliance;
  other.nic->CloseDomain(other.domain);
  other.domain = std::make_shared<ProtectionDomain>(other.pager.shootdown(), 64);
  other.nic->AddTicket(other.ticket, other.domain, 60'000'000'000);
  auto registered = other.domain->Register(other.region, 0, Hanging::kPoolBytes, true);
  REQUIRE(registered.ok());
  pair.other.stag = registered.value();
  pair.other.memory->hold_fills = false;
  pair.Open(false);
  reader.join();
  CHECK_EQ(int(found), int(Code::kOk));
  for (const PageIndex page : there) CHECK_EQ(int(pair.spiller.Find(page, 1)), int(Code::kOk));
  CheckQuiet(pair.spiller.appliance);
}

// Somebody else wrote there: those pages are lost, each by itself, and told as lost.
FARPAGE_TEST(remote_tier_whose_bytes_changed_loses_these_pages_only) {
  Pair pair;
  Spiller& spiller = pair.spiller;
  for (PageIndex page = 0; page < kPages; page++) REQUIRE(spiller.Put(page, 1) == Code::kOk);
  auto other = pair.pool.appliance.Connect();
  const std::byte wrong{0x5a};
  const PoolDoor door = pair.pool.Door(false);
  // Places are given from the beginning on; so many of them are in use.
  for (PageIndex place = 0; place < 40; place++) {
    REQUIRE(Write(*other, door.remote.stag, (place << kPageShift) + 77, &wrong, 1).code ==
            Code::kOk);
  }
  uint64_t lost = 0;
  for (PageIndex page = 0; page < kPages; page++) {
    const Code code = spiller.Find(page, 1);
    CHECK(code == Code::kOk || code == Code::kPageLost);
    if (code == Code::kPageLost) lost++;
  }
  // Bytes that happened to be the same are not wrong; most were not.
  CHECK(lost >= 30 && lost <= 40);
  CHECK_EQ(spiller.appliance.region->table->lost(), lost);
  CHECK_EQ(spiller.appliance.tiers->stats(0).lost_pages, lost);
  CheckQuiet(spiller.appliance);
}

// The pool was made anew under its name, or is gone for good: nothing of it may be believed.
FARPAGE_TEST(remote_tier_whose_pool_is_another_one_has_lost_everything) {
  for (const bool gone : {true, false}) {
    Pair pair;
    Spiller& spiller = pair.spiller;
    for (PageIndex page = 0; page < 100; page++) REQUIRE(spiller.Put(page, 1) == Code::kOk);
    pair.door.Refuse(gone ? Code::kSourceChanged : Code::kConnection);
    pair.pool.GoAway();
    REQUIRE(pair.door.AwaitState(State::kAway));
    CHECK(Becomes([&] { return spiller.InTier(100).size() == pair.door.tier->pages(); }));
    const std::vector<PageIndex> there = spiller.InTier(100);
    if (gone) {
      // The connection breaks first; that there is no pool any more comes with the next question.
      CHECK(Becomes([&] { return pair.door.tier->capacity_bytes() == 0; }));
      CHECK_EQ(int(spiller.Find(there[0], 1)), int(Code::kPageLost));
    }
    pair.pool.Return();
    pair.door.LetIn(pair.pool, true);
    REQUIRE(pair.door.AwaitState(State::kOpen));
    for (const PageIndex page : there) {
      CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kPageLost));
    }
    CHECK_EQ(spiller.appliance.region->table->lost(), there.size());
    // The new one is as good as any.
    for (PageIndex page = 150; page < 250; page++) {
      REQUIRE(spiller.Put(page, 3) == Code::kOk);
    }
    for (PageIndex page = 150; page < 250; page++) {
      CHECK_EQ(int(spiller.Find(page, 3)), int(Code::kOk));
    }
    CHECK(Becomes([&] {
      return pair.door.tier->used_bytes() == pair.door.tier->pages() << kPageShift;
    }));
    CheckQuiet(spiller.appliance);
  }
}

// A pool that takes a request and never answers: away after the deadline, for everybody.
FARPAGE_TEST(remote_tier_that_hangs_ends_every_wait_and_its_late_answer_goes_nowhere) {
  constexpr uint64_t kDeadlineNs = 3'000'000'000;
  Hanging pair(kDeadlineNs);
  Spiller& spiller = pair.spiller;
  const std::vector<PageIndex> there = pair.Hang();
  REQUIRE(there.size() >= 20);
  CHECK_EQ(int(spiller.Find(there[0], 1)), int(Code::kTierAway));
  REQUIRE(pair.door.AwaitState(State::kAway));
  const uint64_t begin = NowNs();
  for (PageIndex n = 0; n < 20; n++) {
    CHECK_EQ(int(spiller.Find(there[n], 1)), int(Code::kTierAway));
  }
  // At once, as all of them together had less than one deadline each.
  CHECK(NowNs() - begin < 20 * kDeadlineNs);
  for (PageIndex page = 0; page < 100; page++) {
    if (!spiller.IsInTier(page)) CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kOk));
  }
  CHECK_EQ(spiller.appliance.region->table->lost(), 0u);
  pair.other.memory->hold_fills = false;
  for (int n = 0; n < 100 && pair.door.tier->connection().state() != State::kOpen; n++) {
    pair.Open(false);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  for (const PageIndex page : there) CHECK_EQ(int(spiller.Find(page, 1)), int(Code::kOk));
  CheckQuiet(spiller.appliance);
}

// Nobody waits on a fill thread for a pool: with one such thread and a pool that hangs, a page that
// comes from elsewhere is filled.
FARPAGE_TEST(remote_tier_that_hangs_keeps_no_fill_thread) {
  FaultyAppliance other({.pages = 512});
  PoolTier door(0, 60'000'000'000);
  ApplianceOptions options;
  options.frames_max = 24;
  options.fill_threads = 1;
  Appliance appliance(options);
  appliance.UseTiers(Only(door.Take()));
  PoolDoor to;
  to.remote.connect.path = other.appliance.socket_path;
  to.remote.connect.ask.ticket = other.appliance.ticket;
  to.remote.stag = other.stag;
  to.length_bytes = 512 << kPageShift;
  door.tier->Open(std::move(to));
  REQUIRE(door.AwaitState(State::kOpen));
  const std::string path = appliance.folder.File("data");
  Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(::ftruncate(file.get(), 64 << kPageShift) == 0);
  const uint32_t stag = appliance.OpenFile(path, true);
  auto user = appliance.Connect();
  const std::byte mark{7};
  REQUIRE(Write(*user, stag, 5 << kPageShift, &mark, 1).code == Code::kOk);
  CHECK_EQ(appliance.pager.Demote(appliance.region, {0, 64}).spilled_pages, 1u);
  REQUIRE(other.appliance.Sync().ok());
  (void)other.appliance.pager.Reclaim(other.appliance.region, {0, 512});
  other.memory->hold_fills = true;
  std::byte late{};
  WorkRequest read;
  read.stag = stag;
  read.remote_offset = 5 << kPageShift;
  read.length_bytes = 1;
  read.local = &late;
  REQUIRE(user->Post({&read, 1}) == 1);
  user->Flush();
  other.AwaitFills(1);
  auto second = appliance.Connect();
  // Not in the page cache, so that a fill thread has to read it.
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  std::byte found{1};
  CHECK_EQ(int(Read(*second, stag, 40 << kPageShift, &found, 1).code), int(Code::kOk));
  CHECK_EQ(int(found), 0);
  other.memory->hold_fills = false;
  CHECK_EQ(int(AwaitAll(*user)), int(Code::kOk));
  CHECK_EQ(int(late), 7);
  CheckQuiet(appliance);
}

// In the middle of others, while it comes and goes and several clients and a sync are at work: no
// page ever has other bytes than those last put there.
FARPAGE_TEST(remote_tier_among_others_against_a_model) {
  Pool pool(200);
  PoolTier door(0, 10'000'000'000);
  TemporaryFolder folder;
  std::vector<std::unique_ptr<Tier>> levels;
  auto compressed = CompressedTier::Create(32 << kPageShift);
  REQUIRE(compressed.ok());
  levels.push_back(std::move(compressed).value());
  levels.push_back(door.Take());
  auto spill = SpillTier::Open(folder.File("."), 1024 << kPageShift);
  if (spill.ok()) levels.push_back(std::move(spill).value());
  Spiller spiller(std::move(levels), 24);
  door.LetIn(pool, true);
  REQUIRE(door.AwaitState(State::kOpen));
  std::atomic<uint64_t> refused{0};
  const auto client = [&](uint64_t seed) {
    auto user = spiller.appliance.Connect();
    std::mt19937_64 random(seed);
    std::vector<uint64_t> versions(kPages);
    std::vector<std::byte> found(kPageBytes);
    const std::vector<std::byte> zeros(kPageBytes);
    for (uint64_t step = 1; step < 1500; step++) {
      const PageIndex page = (random() % (kPages / 2)) * 2 + seed;  // pages of its own
      Code code = Code::kOk;
      if (random() % 2 == 0) {
        const auto bytes = Spiller::Bytes(page, step);
        code = Write(*user, spiller.stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes))
                   .code;
        if (code == Code::kOk) versions[page] = step;
      } else {
        code = Read(*user, spiller.stag, page << kPageShift, found.data(), uint32_t(kPageBytes))
                   .code;
        const bool right = found == (versions[page] == 0 ? zeros
                                                         : Spiller::Bytes(page, versions[page]));
        if (code == Code::kOk) CHECK(right);
      }
      if (code == Code::kOk) continue;
      // A page that is away may be in the way of a write too: then it was not done.
      CHECK(code == Code::kTierAway || code == Code::kNoSpace || code == Code::kMemoryFull);
      refused++;
      user = spiller.appliance.Connect();
    }
  };
  std::atomic<bool> done{false};
  std::thread first(client, 0);
  std::thread second(client, 1);
  std::thread mover([&] {
    std::mt19937_64 random(99);
    const auto& region = spiller.appliance.region;
    while (!done) {
      const PageRun run{random() % kPages, 40};
      if (random() % 2 == 0) {
        (void)spiller.appliance.pager.Demote(region, run);
      } else {
        (void)spiller.appliance.pager.Promote(region, run);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  std::thread trouble([&] {
    while (!done) {
      std::this_thread::sleep_for(std::chrono::milliseconds(60));
      door.Refuse(Code::kConnection);
      pool.GoAway();
      (void)door.AwaitState(State::kAway);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      pool.Return();
      door.LetIn(pool, false);
      (void)door.AwaitState(State::kOpen);
    }
  });
  first.join();
  second.join();
  done = true;
  mover.join();
  trouble.join();
  CHECK_EQ(spiller.appliance.region->table->lost(), 0u);
  CheckQuiet(spiller.appliance);
}

}  // namespace farpage::test
