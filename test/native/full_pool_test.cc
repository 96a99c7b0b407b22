// A pool whose own appliance has no room for more pages.
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

}  // namespace

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
