// Atomic syncs: one instant over several regions, writers that go on, errors that lose nothing.
#include <atomic>
#include <cstdio>

#include "atomic_fixture.h"
#include "base/clock.h"

namespace farpage::test {

FARPAGE_TEST(atomic_sync_writes_what_is_dirty_in_all_members_and_nothing_else) {
  AtomicDesk desk(10, 2, 100);
  desk.Put(0, 1, 11);
  desk.Put(1, 9, 12);
  auto receipt = desk.Sync();
  REQUIRE(receipt.ok());
  CHECK_EQ(receipt.value().sequence, 1u);
  CHECK_EQ(receipt.value().members[0].pages_written, 1u);
  CHECK_EQ(receipt.value().members[1].bytes_written, kPageBytes - 100);  // the last, partial page
  CHECK_EQ(desk.Stored(0, 1), 11u);
  CHECK_EQ(desk.Stored(1, 9), 12u);
  CHECK_EQ(desk.Dirty(), 0u);
  PageTable& table = *desk.members[0].region->table;
  CHECK_EQ(table.dirty_summary().Next(0), table.dirty_summary().chunks());
  CHECK_EQ(desk.members[0].region->fills.written_back_pages.load(), 1u);
  const size_t events = desk.recording.size();
  CHECK_EQ(desk.Sync().value().sequence, 0u);
  CHECK_EQ(desk.recording.size(), events);  // nothing was dirty: nothing was touched
}

FARPAGE_TEST(atomic_sync_of_a_range_or_of_one_region_leaves_the_rest_dirty) {
  AtomicDesk desk(10);
  for (PageIndex page = 0; page < 10; page++) {
    desk.Put(0, page, 5);
    desk.Put(1, page, 6);
  }
  CHECK(desk.sync.Run({{desk.members[0].region, {2, 3}}}).ok());
  CHECK_EQ(desk.Dirty(), 17u);
  CHECK_EQ(desk.Stored(0, 1), 0u);
  CHECK_EQ(desk.Stored(0, 4), 5u);
  // What is dirty since before a sync of others may be written, and is in the next sync.
  desk.Put(1, 3, 7);
  desk.Put(0, 9, 8);
  CHECK(desk.sync.Run({desk.members[1]}).ok());
  CHECK_EQ(desk.Stored(1, 3), 7u);
  CHECK_EQ(desk.Stored(1, 4), 6u);
  CHECK(desk.Sync().ok());
  CHECK_EQ(desk.Stored(0, 9), 8u);
  CHECK_EQ(desk.Stored(0, 0), 5u);
  CHECK_EQ(desk.Dirty(), 0u);
}

// A page that the sync wants and has not got yet: the writer saves its bytes and goes on, while
// the journal's device stands still.
FARPAGE_TEST(atomic_sync_lets_writers_of_frozen_pages_go_on) {
  constexpr uint64_t kPages = 600;
  AtomicDesk desk(kPages, 1);
  for (PageIndex page = 0; page < kPages; page++) desk.Put(0, page, 1);
  bool wrote = false;
  int writes = 0;
  desk.journal_file->on_write = [&] {
    // The second: the first chunk, with other pages still to come.
    if (++writes != 3) return;
    wrote = desk.TryPut(desk.counter, 0, 590 << kPageShift, 2) &&
            desk.TryPut(desk.counter, 0, 591 << kPageShift, 2) &&
            desk.TryPut(desk.counter, 0, 3 << kPageShift, 2);
  };
  auto receipt = desk.Sync();
  REQUIRE(receipt.ok());
  CHECK(wrote);
  CHECK_EQ(desk.sync.images(), 2u);
  CHECK_EQ(receipt.value().members[0].pages_written, kPages);
  for (const PageIndex page : {0, 3, 590, 591, 599}) CHECK_EQ(desk.Stored(0, page), 1u);
  CHECK_EQ(desk.Dirty(), 3u);
  CHECK_EQ(desk.Sync().value().members[0].pages_written, 3u);
  CHECK_EQ(desk.Stored(0, 590), 2u);
}

FARPAGE_TEST(atomic_sync_serves_writers_that_find_no_image_before_others) {
  constexpr uint64_t kPages = 2 * kImagePoolPages + 1000;
  AtomicDesk desk(kPages, 1);
  for (PageIndex page = 0; page < kPages; page++) desk.Put(0, page, 1);
  uint64_t refused = 0;
  bool later = false;
  int writes = 0;
  desk.journal_file->on_write = [&] {
    if (++writes == 3) {
      // More than there is room for.
      for (PageIndex page = kPages - kImagePoolPages - 10; page < kPages; page++) {
        if (!desk.TryPut(desk.counter, 0, page << kPageShift, 2)) refused++;
      }
    }
    // Before the sweep has come there, these pages have had their turn.
    if (writes == 25) later = desk.TryPut(desk.counter, 0, (kPages - 1) << kPageShift, 3);
  };
  REQUIRE(desk.Sync().ok());
  CHECK_EQ(refused, 10u);
  CHECK(later);
  for (PageIndex page = 0; page < kPages; page++) CHECK_EQ(desk.Stored(0, page), 1u);
  CHECK(desk.Sync().ok());
  CHECK_EQ(desk.Stored(0, kPages - 1), 3u);
  CHECK_EQ(desk.Stored(0, kPages - 20), 2u);
}

// A writer counts up through pages of both regions, one after the other. At any instant the pages
// before the one it is at are one ahead of those behind it: so is what a sync has written.
FARPAGE_TEST(atomic_sync_has_the_content_of_one_instant) {
  constexpr uint64_t kPages = 40;
  // Both ends of the regions in turn, so that no order of a sweep could pass by luck.
  const auto page_at = [](uint64_t step) {
    const uint64_t half = step / 2;
    return half % 2 == 0 ? half / 2 : kPages - 1 - half / 2;
  };
  constexpr uint32_t kWriters = 2;
  AtomicDesk desk(kPages);
  desk.recording.on = false;
  std::atomic<bool> stop{false};
  std::array<std::atomic<uint64_t>, kWriters> done{};
  std::vector<std::thread> writers;
  for (uint32_t who = 0; who < kWriters; who++) {
    writers.emplace_back([&, who] {
      TurnCounter* turns = desk.shootdown.Register();
      for (uint64_t value = 1; !stop.load(); value++) {
        for (uint64_t step = 0; step < 2 * kPages && !stop.load(); step++) {
          desk.Put(turns, step % 2, (page_at(step) << kPageShift) + 8 * who, value);
        }
        if (!stop.load()) done[who].store(value);
      }
      desk.shootdown.Unregister(turns);
    });
  }
  const uint64_t end = NowNs() + 500'000'000;
  uint64_t syncs = 0;
  uint64_t mixes = 0;
  while (NowNs() < end && mixes == 0) {
    std::array<uint64_t, kWriters> before{};
    for (uint32_t who = 0; who < kWriters; who++) before[who] = done[who].load();
    CHECK(desk.Sync().ok());
    syncs++;
    for (uint32_t who = 0; who < kWriters; who++) {
      uint64_t last = ~uint64_t{0};
      uint64_t first = 0;
      for (uint64_t step = 0; step < 2 * kPages; step++) {
        const uint64_t offset = (page_at(step) << kPageShift) + 8 * who;
        uint64_t value = 0;
        std::memcpy(&value, desk.bytes[step % 2].data() + offset, 8);
        if (step == 0) first = value;
        if (value > last || value + 1 < first || value < before[who]) mixes++;
        last = value;
      }
    }
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
  CHECK_EQ(mixes, 0u);
  CHECK(syncs > 3);
  std::printf("%llu syncs, %llu images\n", static_cast<unsigned long long>(syncs),
              static_cast<unsigned long long>(desk.sync.images()));
}

FARPAGE_TEST(atomic_sync_submitted_ones_are_told_and_end_with_it) {
  AtomicDesk desk(4);
  std::atomic<uint32_t> told{0};
  for (PageIndex page = 0; page < 4; page++) {
    desk.Put(0, page, page + 1);
    desk.sync.Submit({{desk.members[0].region, {page, 1}}}, [&](Result<AtomicReceipt> got) {
      if (got.ok() && got.value().members[0].pages_written == 1) told++;
    });
  }
  desk.sync.Close();
  CHECK_EQ(told.load(), 4u);
  CHECK_EQ(desk.members[0].region->jobs.load(), 0u);
  Code refused = Code::kOk;
  desk.sync.Submit(desk.members, [&](Result<AtomicReceipt> got) { refused = got.error().code; });
  CHECK_EQ(int(refused), int(Code::kClosed));
}

FARPAGE_TEST(atomic_sync_refuses_plain_regions_and_plain_writing_back) {
  AtomicDesk desk(4);
  FrameBudget budget(100);
  WriteBack write_back(desk.shootdown, desk.waiters, budget);
  desk.Put(0, 0, 1);
  auto plain = write_back.Run(desk.members[0].region, {0, 4}, true);
  CHECK(!plain.ok() && plain.error().code == Code::kUnsupported);
  CHECK_EQ(desk.Stored(0, 0), 0u);
  CHECK_EQ(desk.Dirty(), 1u);
}

FARPAGE_TEST(atomic_sync_without_room_in_the_journal_changes_nothing) {
  AtomicDesk desk(40);
  for (PageIndex page = 0; page < 40; page++) desk.Put(1, page, 3);
  desk.journal_file->room = 4 * kPageBytes;
  const Bytes before = desk.journal.segments[0];
  auto failed = desk.Sync();
  CHECK(!failed.ok() && failed.error().code == Code::kNoSpace);
  const auto& why = desk.members[1].region->fills.write_back_failure;
  CHECK_EQ(int(why.load()), int(Code::kNoSpace));
  CHECK_EQ(desk.Dirty(), 40u);
  CHECK(desk.journal.segments[0] == before);
  desk.journal_file->room = ~uint64_t{0};
  CHECK(desk.Sync().ok());
  CHECK_EQ(int(why.load()), int(Code::kOk));
  CHECK_EQ(desk.Stored(1, 39), 3u);
}

// The n-th write or barrier of the journal or of a store fails, for every n: nothing that was
// synced is lost, the stores are as one sync or the other once the next one works.
FARPAGE_TEST(atomic_sync_nth_call_fails_and_nothing_is_lost) {
  constexpr uint64_t kPages = 8;
  uint64_t failures = 0;
  for (const int error : {EIO, ENOSPC}) {
    for (int which = -1; which < 2; which++) {
      bool reached = true;
      for (uint64_t nth = 1; reached; nth++) {
        AtomicDesk desk(kPages);
        for (PageIndex page = 0; page < kPages; page++) desk.Put(page % 2, page, 1);
        REQUIRE(desk.Sync().ok());
        for (PageIndex page = 0; page < kPages; page++) desk.Put(page % 2, page, 2);
        uint64_t& fails_at =
            which < 0 ? desk.journal_file->fails_at : desk.stores[size_t(which)]->fails_at;
        (which < 0 ? desk.journal_file->error : desk.stores[size_t(which)]->error) = error;
        fails_at = nth;
        auto failed = desk.Sync();
        reached = fails_at == 0;
        fails_at = 0;
        CHECK_EQ(failed.ok(), !reached);
        if (!failed.ok()) {
          failures++;
          CHECK_EQ(int(failed.error().code), int(CodeOfErrno(error)));
        }
        // What is in the stores now, or would be after a start here: the old sync or the new one.
        std::vector<Bytes> copies = desk.bytes;
        MemoryJournal journal{desk.journal.segments};
        auto found = JournalFolder::Over(desk.folder.File("journal"), journal.Opener());
        REQUIRE(found.ok());
        std::vector<RecoveredStore> done;
        const size_t parts = found.value()->Waiting().size();
        if (parts == 0) {
          CHECK(found.value()
                    ->Recover(
                        [&](const JournalStore& store) -> Result<std::unique_ptr<PageStore>> {
                          const size_t n = store.inode - 1;
                          return std::unique_ptr<PageStore>(
                              std::make_unique<RecordingStore>(&copies[n], &desk.names[n]));
                        },
                        &done)
                    .ok());
          uint64_t first = 0;
          for (PageIndex page = 0; page < kPages; page++) {
            uint64_t value = 0;
            std::memcpy(&value, copies[page % 2].data() + (page << kPageShift), 8);
            if (page == 0) first = value;
            CHECK(value == first && (value == 1 || value == 2));
          }
        }
        desk.Put(0, 0, 3);
        CHECK(desk.Sync().ok());
        CHECK_EQ(desk.Stored(0, 0), 3u);
        for (PageIndex page = 1; page < kPages; page++) CHECK_EQ(desk.Stored(page % 2, page), 2u);
        CHECK_EQ(desk.Dirty(), 0u);
        CHECK(desk.sync.journal()->Waiting().empty());
        CHECK(nth < 100);
      }
    }
  }
  std::printf("%llu calls failed, one by one\n", static_cast<unsigned long long>(failures));
  CHECK(failures >= 20);
}

}  // namespace farpage::test
