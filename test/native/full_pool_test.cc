// Pools: of an appliance that has no room for more pages; and READs of one that are sent together.
#include <cstring>

#include "pool_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = Spiller::kPages;
constexpr uint64_t kPoolFrames = 160;
// Written by somebody else where the tier never comes: they hold half of the pool's memory.
constexpr PageRun kOthers{3'000, 80};

struct FullPool {
  FullPool() : pool(4096, kPoolFrames), spiller(Only(door.Take())) {
    auto other = pool.appliance.Connect();
    const std::byte some{0x5a};
    for (PageIndex page = kOthers.first; page < kOthers.end(); page++) {
      CHECK(Write(*other, pool.Door(false).remote.stag, page << kPageShift, &some, 1).code ==
            Code::kOk);
    }
    door.LetIn(pool, true);
    CHECK(door.AwaitState(RemotePool::State::kOpen));
    door.LetIn(pool, false);
  }
  // Writes pages until one is refused; how many were taken.
  PageIndex FillUp() {
    PageIndex page = 0;
    Code code = Code::kOk;
    while (code == Code::kOk && page < kPages) code = spiller.Put(page++, 1);
    CHECK_EQ(int(code), int(Code::kNoSpace));
    return page - 1;
  }
  Pool pool;
  PoolTier door;
  Spiller spiller;
};

constexpr uint64_t kNeighbours = 40;

// Pages in a pool, which are asked for while there is no connection to it.
struct Asked {
  Asked() : bytes(kNeighbours * kPageBytes), found(bytes.size()) {
    door.LetIn(pool, true);
    CHECK(door.AwaitState(RemotePool::State::kOpen));
    std::vector<TierPage> pages(kNeighbours);
    for (uint64_t page = 0; page < kNeighbours; page++) {
      const auto some = Spiller::Bytes(page, 1);
      std::memcpy(&bytes[page * kPageBytes], some.data(), kPageBytes);
      pages[page].bytes = &bytes[page * kPageBytes];
    }
    door.tier->Put(pages);
    for (const TierPage& page : pages) {
      CHECK(page.outcome.ok());
      slots.push_back(page.slot);
    }
  }
  // A connection that ends within the first second of its life is taken for one of many.
  void LeaveAfterAWhile() {
    std::this_thread::sleep_for(std::chrono::nanoseconds(RemotePool::kAskAgainNs));
    door.KeepWaiting();
    pool.GoAway();
  }
  void Return() {
    pool.Return();
    door.LetIn(pool, false);
  }
  void Ask(uint64_t page, uint64_t to) {
    door.tier->StartGet(slots[page], &found[to * kPageBytes], [this](const Status& got) {
      failed += got.ok() ? 0 : 1;
      ended++;
    });
  }
  // Every page was found where it was wanted.
  bool Found(uint64_t pages) {
    return Becomes([&] { return ended == pages; }) && failed == 0;
  }
  [[nodiscard]] uint64_t Reads() const {
    uint64_t all = 0;
    for (const OperationCounters& lane : pool.appliance.region->operations) {
      all += lane.bypassed.load() + lane.faulted.load();
    }
    return all;
  }

  Pool pool{4096};
  PoolTier door;
  std::vector<std::byte> bytes;
  std::vector<std::byte> found;
  std::vector<TierSlot> slots;
  std::atomic<uint64_t> ended{0};
  std::atomic<uint64_t> failed{0};
};

}  // namespace

FARPAGE_TEST(pool_is_asked_for_neighbours_by_one_read) {
  Asked asked;
  asked.LeaveAfterAWhile();
  REQUIRE(asked.door.AwaitState(RemotePool::State::kConnecting));
  const uint64_t before = asked.Reads();
  for (uint64_t page = 0; page < kNeighbours; page++) asked.Ask(page, page);
  asked.Return();
  REQUIRE(asked.Found(kNeighbours));
  CHECK(asked.found == asked.bytes);
  const uint64_t together = RemotePool::kJoinedBytesMax >> kPageShift;
  CHECK_EQ(asked.Reads() - before, (kNeighbours + together - 1) / together);
}

// Neighbours in the pool that lie apart in memory, and the other way, are asked for one by one.
FARPAGE_TEST(pool_is_asked_for_others_one_by_one) {
  Asked asked;
  asked.LeaveAfterAWhile();
  REQUIRE(asked.door.AwaitState(RemotePool::State::kConnecting));
  const uint64_t before = asked.Reads();
  const std::vector<uint64_t> order{0, 2, 1, 3, 4, 9};
  for (uint64_t n = 0; n < order.size(); n++) asked.Ask(order[n], n == 5 ? 20 : n);
  asked.Return();
  REQUIRE(asked.Found(order.size()));
  for (uint64_t n = 0; n < order.size(); n++) {
    const std::byte* const at = &asked.found[(n == 5 ? 20 : n) * kPageBytes];
    CHECK(std::memcmp(at, &asked.bytes[order[n] * kPageBytes], kPageBytes) == 0);
  }
  CHECK_EQ(asked.Reads() - before, 5u);  // of these, 3 and 4 together
}

// What was asked for together is asked for again, together or not, once there is a connection.
FARPAGE_TEST(pool_is_asked_again_for_all_of_a_read_that_was_lost) {
  Asked asked;
  asked.LeaveAfterAWhile();
  REQUIRE(asked.door.AwaitState(RemotePool::State::kConnecting));
  asked.Return();
  REQUIRE(asked.door.AwaitState(RemotePool::State::kOpen));
  std::this_thread::sleep_for(std::chrono::nanoseconds(RemotePool::kAskAgainNs));
  asked.door.KeepWaiting();
  for (uint64_t page = 0; page < kNeighbours; page++) asked.Ask(page, page);
  asked.pool.GoAway();
  asked.Return();
  REQUIRE(asked.Found(kNeighbours));
  CHECK(asked.found == asked.bytes);
}

// What is there is still to be had, whoever has no room for more; and comes out and goes in again.
FARPAGE_TEST(full_pool_takes_no_more_and_gives_what_it_has) {
  FullPool full;
  const PageIndex written = full.FillUp();
  CHECK(written > 40);
  // It says so by ending the connection. That is nobody's loss, and no more come at once.
  CHECK(full.door.tier->reachable());
  for (int round = 0; round < 3; round++) {
    for (PageIndex page = 0; page < written; page++) {
      REQUIRE(full.spiller.Find(page, 1) == Code::kOk);
    }
  }
  CHECK_EQ(full.spiller.appliance.region->table->lost(), 0u);
  CheckQuiet(full.spiller.appliance);
}

// Places that hold nothing any more are the pool's to forget: none is used before it has, and what
// the others hold stays.
FARPAGE_TEST(full_pool_may_forget_what_was_freed) {
  Pool pool(uint64_t{1} << 20);
  PoolTier door;
  const std::unique_ptr<Tier> owner = door.Take();
  RemoteTier& tier = *door.tier;
  door.LetIn(pool, true);
  REQUIRE(door.AwaitState(RemotePool::State::kOpen));
  const std::vector<std::byte> bytes(kPageBytes, std::byte{7});
  const auto put = [&](size_t count) {
    std::vector<TierPage> pages(count, TierPage{bytes.data(), 0, {}});
    tier.Put(pages);
    std::vector<uint64_t> places;
    for (const TierPage& page : pages) {
      CHECK(page.outcome.ok());
      places.push_back(page.slot & ((uint64_t{1} << RemoteTier::kPlaceBits) - 1));
    }
    return places;
  };
  const uint64_t pool_bits = uint64_t{1} << RemoteTier::kPlaceBits;
  for (uint64_t n = 0; n < 600; n += 100) CHECK_EQ(put(100).front(), n);
  CHECK(tier.TakeFreed(false).runs.empty());
  for (uint64_t place = 0; place < 550; place++) tier.Free(pool_bits | place);
  // Not those that may be wanted again at once: they have to be free for two looks.
  CHECK(tier.TakeFreed(false).runs.empty());
  RemoteTier::Freed freed = tier.TakeFreed(false);
  REQUIRE(freed.runs.size() == 1u);
  CHECK_EQ(freed.runs[0].first, 0u);
  CHECK_EQ(freed.runs[0].count, 2 * kSlotGroup);
  CHECK_EQ(tier.used_bytes(), 50u << kPageShift);
  for (uint64_t n = 0; n < 20; n++) CHECK(put(10).front() >= 2 * kSlotGroup);
  // As long as nobody knows whether it has, or will, the same is asked again.
  freed = tier.TakeFreed(false);
  REQUIRE(freed.runs.size() == 1u);
  CHECK_EQ(freed.runs[0].count, 2 * kSlotGroup);
  // It does not: they may be used, and are given again later.
  tier.EndFreed(freed.pool, false);
  CHECK(tier.TakeFreed(false).runs.empty());
  freed = tier.TakeFreed(false);
  REQUIRE(freed.runs.size() == 1u);
  tier.EndFreed(freed.pool + 1, true);  // of another pool
  CHECK_EQ(tier.TakeFreed(false).runs.size(), 1u);
  tier.EndFreed(freed.pool, true);
  CHECK(tier.TakeFreed(false).runs.empty());
  CHECK(tier.TakeFreed(false).runs.empty());
  // At the end nothing that is there is wanted, and nothing where no page was.
  freed = tier.TakeFreed(true);
  REQUIRE(freed.runs.size() == 1u);
  CHECK_EQ(freed.runs[0].first, 2 * kSlotGroup);
  CHECK_EQ(freed.runs[0].count, 2 * kSlotGroup);
}

// Half of the free places stay, to be used while the pool thinks about the others: where that is
// less than a group none are taken.
FARPAGE_TEST(full_pool_keeps_places_while_some_are_forgotten) {
  for (const uint64_t groups : {1, 2, 3, 40}) {
    const uint64_t places = groups * kSlotGroup;
    Pool pool(places);
    PoolTier door;
    const std::unique_ptr<Tier> owner = door.Take();
    RemoteTier& tier = *door.tier;
    door.LetIn(pool, true);
    REQUIRE(door.AwaitState(RemotePool::State::kOpen));
    const std::vector<std::byte> bytes(kPageBytes, std::byte{7});
    std::vector<TierPage> pages(places, TierPage{bytes.data(), 0, {}});
    tier.Put(pages);
    for (const TierPage& page : pages) tier.Free(page.slot);
    CHECK(tier.TakeFreed(false).runs.empty());
    uint64_t taken = 0;
    for (const PageRun& run : tier.TakeFreed(false).runs) taken += run.count;
    const uint64_t expected = std::min(groups / 2, std::max<uint64_t>(groups / 16, 1));
    CHECK_EQ(taken, expected * kSlotGroup);
    std::vector<TierPage> more(places - taken, TierPage{bytes.data(), 0, {}});
    tier.Put(more);
    for (const TierPage& page : more) CHECK(page.outcome.ok());
  }
}

// Also where the pool's appliance had no room when they were, and no page comes or goes since.
FARPAGE_TEST(full_pool_may_forget_what_was_freed_while_it_was_full) {
  Pool pool(4096, kPoolFrames);
  PoolTier door;
  const std::unique_ptr<Tier> owner = door.Take();
  RemoteTier& tier = *door.tier;
  door.LetIn(pool, true);
  REQUIRE(door.AwaitState(RemotePool::State::kOpen));
  door.LetIn(pool, false);
  const std::vector<std::byte> bytes(kPageBytes, std::byte{7});
  std::vector<TierSlot> slots;
  TierPage page{bytes.data(), 0, {}};
  for (tier.Put({&page, 1}); page.outcome.ok(); tier.Put({&page, 1})) slots.push_back(page.slot);
  REQUIRE(page.outcome.error().code == Code::kNoSpace);
  CHECK(slots.size() > 40);
  for (const TierSlot slot : slots) tier.Free(slot);
  CHECK(Becomes([&] { return !tier.TakeFreed(false).runs.empty(); }));
}

// Of a pool made anew nothing is known, also where the first door to it leads nowhere: nothing of
// the one before is forgotten in it.
FARPAGE_TEST(full_pool_that_is_another_one_keeps_what_the_last_one_was_to_forget) {
  Pool pool(uint64_t{1} << 20);
  PoolTier door;
  const std::unique_ptr<Tier> owner = door.Take();
  RemoteTier& tier = *door.tier;
  door.LetIn(pool, true);
  REQUIRE(door.AwaitState(RemotePool::State::kOpen));
  const std::vector<std::byte> bytes(kPageBytes, std::byte{7});
  TierPage page{bytes.data(), 0, {}};
  tier.Put({&page, 1});
  tier.Free(page.slot);
  CHECK(tier.TakeFreed(false).runs.empty());
  REQUIRE(tier.TakeFreed(false).runs.size() == 1u);
  door.KeepWaiting();
  PoolDoor nowhere = pool.Door(true);
  nowhere.remote.connect.path += ".none";
  tier.Open(nowhere);
  CHECK(tier.TakeFreed(false).runs.empty());
  REQUIRE(door.AwaitState(RemotePool::State::kAway));
  CHECK(tier.TakeFreed(true).runs.empty());
  door.LetIn(pool, false);
  REQUIRE(door.AwaitState(RemotePool::State::kOpen));
  CHECK(tier.TakeFreed(true).runs.empty());
  CHECK_EQ(tier.used_bytes(), 0u);
  tier.Put({&page, 1});
  CHECK_EQ(page.slot >> RemoteTier::kPlaceBits, 2u);
}

// It is asked again after a while.
FARPAGE_TEST(full_pool_takes_pages_again_once_it_has_room) {
  FullPool full;
  const PageIndex written = full.FillUp();
  const auto gone = full.pool.appliance.pager.indicators().Invalidate(
      full.pool.appliance.region, kOthers, DirtyRule::kDiscard);
  CHECK_EQ(gone.pages, kOthers.count);
  CHECK(Becomes([&] { return full.spiller.Put(written, 1) == Code::kOk; }));
  for (PageIndex page = 0; page <= written; page++) {
    CHECK_EQ(int(full.spiller.Find(page, 1)), int(Code::kOk));
  }
  CheckQuiet(full.spiller.appliance);
}

}  // namespace farpage::test
