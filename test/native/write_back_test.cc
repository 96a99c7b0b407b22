// Write-back on its own: what reaches the store, what stays dirty, what an error leaves behind.
#include <array>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "faulty_store.h"
#include "pager/page_change.h"
#include "pager/write_back.h"

namespace farpage::test {
namespace {

struct Desk {
  explicit Desk(uint64_t size_bytes) : write_back(shootdown, waiters, budget) {
    Region::Options options;
    options.size_bytes = size_bytes;
    options.writable = true;
    made = MakeFaultyRegion(options, &plan);
    made.memory->private_copies = true;
    counter = shootdown.Register();
    for (PageIndex page = 0; page < table().pages(); page++) {
      ChangePage(table(), page, [](PageWord word) { return WithState(word, PageState::kFilling); });
      ChangePage(table(), page, [&](PageWord) { return made.region->PresentFlags(); });
    }
  }
  ~Desk() { shootdown.Unregister(counter); }

  // What a fabric thread does with one byte.
  void Put(uint64_t offset, uint8_t value) { Put(counter, offset, value); }
  void Put(TurnCounter* turns, uint64_t offset, uint8_t value) {
    const Turn turn(turns);
    const PageIndex page = offset >> kPageShift;
    while (!table().MarkDirty(page)) {
      PageWord word = table().Load(page);
      if (StateOf(word) == PageState::kPresent) {
        (void)table().Change(page, word, word | kWritable);
      } else {
        std::this_thread::yield();  // COPYING: the pager thread is at it, and waits for no turn
      }
    }
    // The window that the grace period closes: marked, and not yet written.
    if (value % 4 == 1) std::this_thread::yield();
    CHECK(CopyToRegion(made.memory->address() + offset, &value, 1));
  }
  Result<WriteBackReceipt> Sync(bool durable, PageRun run = {0, ~uint64_t{0} >> 16}) {
    return write_back.Run(made.region, run, durable);
  }
  int Durable(uint64_t offset) { return int(made.store->Durable()[offset]); }
  PageTable& table() { return *made.region->table; }

  FaultPlan plan;
  Shootdown shootdown;
  WaiterList waiters;
  FrameBudget budget{1 << 20};
  WriteBack write_back;
  TurnCounter* counter = nullptr;
  FaultyRegion made;
};

}  // namespace

FARPAGE_TEST(write_back_writes_dirty_pages_of_the_run_and_no_others) {
  Desk desk(10 * kPageBytes - 100);
  desk.Put(0, 1);
  desk.Put(3 * kPageBytes, 2);
  desk.Put(10 * kPageBytes - 101, 3);
  auto receipt = desk.Sync(true, {0, 4});
  REQUIRE(receipt.ok());
  CHECK_EQ(receipt.value().pages_written, 2u);
  CHECK_EQ(desk.table().dirty(), 1u);
  receipt = desk.Sync(true);
  REQUIRE(receipt.ok());
  CHECK_EQ(receipt.value().pages_written, 1u);
  CHECK_EQ(receipt.value().bytes_written, kPageBytes - 100);  // the file does not grow
  CHECK_EQ(desk.Durable(0), 1);
  CHECK_EQ(desk.Durable(3 * kPageBytes), 2);
  CHECK_EQ(desk.Durable(10 * kPageBytes - 101), 3);
  CHECK_EQ(desk.table().dirty_summary().Next(0), desk.table().dirty_summary().chunks());
  const uint64_t syncs = desk.made.store->syncs();
  CHECK(desk.Sync(true).ok());
  CHECK_EQ(desk.made.store->syncs(), syncs);  // nothing to make durable
}

FARPAGE_TEST(write_back_without_durability_stays_unsafe_until_fdatasync) {
  Desk desk(4 * kPageBytes);
  desk.Put(5, 7);
  CHECK_EQ(desk.Sync(false).value().pages_written, 1u);
  CHECK_EQ(desk.table().dirty(), 1u);
  CHECK_EQ(desk.Durable(5), 0);
  CHECK_EQ(desk.Sync(true).value().pages_written, 0u);
  CHECK_EQ(desk.table().dirty(), 0u);
  CHECK_EQ(desk.Durable(5), 7);
  // Safe now, whichever of the two syncs made it so: its private copy goes as well.
  CHECK_EQ(desk.made.memory->private_drops.load(), 1u);
}

FARPAGE_TEST(write_back_failed_write_leaves_the_page_dirty) {
  Desk desk(4 * kPageBytes);
  desk.Put(5, 7);
  desk.plan.Arm(kFaultyWrite, 1, ENOSPC);
  auto failed = desk.Sync(true);
  REQUIRE(!failed.ok());
  CHECK_EQ(int(failed.error().code), int(Code::kNoSpace));
  CHECK_EQ(desk.table().dirty(), 1u);
  CHECK_EQ(desk.Sync(true).value().pages_written, 1u);
  CHECK_EQ(desk.Durable(5), 7);
}

FARPAGE_TEST(write_back_bad_page_spares_its_neighbours) {
  Desk desk(64 * kPageBytes);
  for (uint64_t page = 0; page < 64; page++) desk.Put(page * kPageBytes, 9);
  desk.made.store->SetBadPage(63);
  auto failed = desk.Sync(true);
  REQUIRE(!failed.ok());
  CHECK_EQ(int(failed.error().code), int(Code::kIo));
  CHECK_EQ(desk.table().dirty(), 1u);
  uint64_t spared = 0;
  for (uint64_t page = 0; page < 63; page++) spared += desk.Durable(page * kPageBytes) == 9 ? 1 : 0;
  CHECK_EQ(spared, 63u);
  desk.made.store->SetBadPage(~PageIndex{0});
  CHECK(desk.Sync(true).ok());
  CHECK_EQ(desk.Durable(63 * kPageBytes), 9);
}

// The kernel says of a failed fdatasync once, and forgets what it could not write. So everything
// that was only written must be written again: of this sync's run, and of all others.
FARPAGE_TEST(write_back_failed_fdatasync_makes_everything_dirty_again) {
  Desk desk(8 * kPageBytes);
  desk.Put(0, 1);
  desk.Put(6 * kPageBytes, 2);
  CHECK(desk.Sync(false, {4, 4}).ok());  // page 6: written, not durable
  desk.plan.Arm(kFaultySync, 1);
  auto failed = desk.Sync(true, {0, 4});
  REQUIRE(!failed.ok());
  CHECK_EQ(int(failed.error().code), int(Code::kIo));
  CHECK_EQ(desk.table().dirty(), 2u);
  CHECK_EQ(desk.made.memory->private_drops.load(), 0u);
  CHECK(desk.Sync(true).ok());
  CHECK_EQ(desk.table().dirty(), 0u);
  CHECK_EQ(desk.Durable(0), 1);
  CHECK_EQ(desk.Durable(6 * kPageBytes), 2);
}

FARPAGE_TEST(write_back_page_written_meanwhile_stays_dirty) {
  Desk desk(2 * kPageBytes);
  desk.Put(0, 1);
  std::atomic<bool> once{false};
  desk.made.store->SetOnWrite([&] {
    if (!once.exchange(true)) desk.Put(1, 2);
  });
  CHECK(desk.Sync(true).ok());
  CHECK_EQ(desk.table().dirty(), 1u);
  CHECK_EQ(desk.made.memory->private_drops.load(), 0u);  // the copy is in use
  CHECK_EQ(desk.Sync(true).value().pages_written, 1u);
  CHECK_EQ(desk.Durable(1), 2);
  CHECK_EQ(desk.table().dirty(), 0u);
}

FARPAGE_TEST(write_back_submitted_jobs_are_told_and_end_with_it) {
  Desk desk(4 * kPageBytes);
  std::atomic<uint32_t> told{0};
  for (uint64_t page = 0; page < 4; page++) {
    desk.Put(page * kPageBytes, uint8_t(page + 1));
    desk.write_back.Submit(desk.made.region, {page, 1}, true, [&](Result<WriteBackReceipt> got) {
      if (got.ok() && got.value().pages_written == 1) told++;
    });
  }
  desk.write_back.Close();
  CHECK_EQ(told.load(), 4u);
  CHECK_EQ(desk.made.region->jobs.load(), 0u);
  Code refused = Code::kOk;
  desk.write_back.Submit(desk.made.region, {0, 1}, true,
                         [&](Result<WriteBackReceipt> got) { refused = got.error().code; });
  CHECK_EQ(int(refused), int(Code::kClosed));
}

// Writers count up, each in bytes of its own that share pages with all others, and syncs run all
// the time: whatever a writer had put before a sync began is in the store when the sync is over,
// and what is read back is never older than what the reader itself wrote.
FARPAGE_TEST(write_back_concurrent_writers_lose_nothing) {
  Desk desk(6 * kPageBytes);
  constexpr uint64_t kWriters = 2;
  std::atomic<bool> stop{false};
  std::array<std::atomic<uint32_t>, kWriters> recorded{};
  std::atomic<uint64_t> lost{0};
  std::vector<std::thread> writers;
  for (uint64_t who = 0; who < kWriters; who++) {
    writers.emplace_back([&, who] {
      TurnCounter* turns = desk.shootdown.Register();
      uint8_t value = 0;
      for (uint32_t round = 1; !stop.load(); round++) {
        // A byte that only ever grows: the round in the low 7 bits would wrap, so pages carry on.
        value = static_cast<uint8_t>(std::min(round / 64, 255u));
        for (uint64_t page = 0; page < 6; page++) {
          const uint64_t offset = page * kPageBytes + 100 + who;
          desk.Put(turns, offset, value);
          const Turn turn(turns);
          uint8_t seen = 0;
          (void)CopyFromRegion(&seen, desk.made.memory->address() + offset, 1);
          if (seen < value) lost++;
        }
        recorded[who].store(value, std::memory_order_release);
        if (value == 255) round = 255 * 64;
      }
      desk.shootdown.Unregister(turns);
    });
  }
  const uint64_t end = NowNs() + 400'000'000;
  uint64_t syncs = 0;
  while (NowNs() < end) {
    std::array<uint32_t, kWriters> before{};
    for (uint64_t who = 0; who < kWriters; who++) before[who] = recorded[who].load();
    if (syncs % 3 == 0) CHECK(desk.Sync(false).ok());
    CHECK(desk.Sync(true).ok());
    const auto durable = desk.made.store->Durable();
    for (uint64_t who = 0; who < kWriters; who++) {
      for (uint64_t page = 0; page < 6; page++) {
        if (uint32_t(durable[page * kPageBytes + 100 + who]) < before[who]) lost++;
      }
    }
    syncs++;
  }
  stop.store(true);
  for (std::thread& writer : writers) writer.join();
  CHECK(desk.Sync(true).ok());
  const auto durable = desk.made.store->Durable();
  for (uint64_t who = 0; who < kWriters; who++) {
    CHECK_EQ(uint32_t(durable[100 + who]), recorded[who].load());
  }
  CHECK_EQ(lost.load(), 0u);
  CHECK(syncs > 3);
}

}  // namespace farpage::test
