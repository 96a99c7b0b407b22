// Atomic syncs beside one whose store hangs: each is in a segment of the journal of its own.
#include <future>
#include <memory>

#include "atomic_fixture.h"
#include "environment.h"
#include "slow_fixture.h"

namespace farpage::test {
namespace {

// A sync that was submitted.
struct Submitted {
  Submitted(AtomicDesk& desk, std::vector<uint32_t> regions) {
    std::vector<AtomicSync::Member> members;
    for (const uint32_t region : regions) members.push_back(desk.members[region]);
    desk.sync.Submit(std::move(members), [this](Result<AtomicReceipt> done) {
      code = done.ok() ? Code::kOk : done.error().code;
      ended = true;
    });
  }
  bool Await() const {
    return test::Await([this] { return ended.load(); });
  }
  std::atomic<Code> code{Code::kInternal};
  std::atomic<bool> ended{false};
};

// The store of the first region waits at a gate with each page.
struct HungDesk {
  explicit HungDesk(uint32_t regions, uint32_t hung = 1) : desk(4, regions) {
    for (uint32_t n = 0; n < hung; n++) {
      desk.stores[n]->on_write = [this] { gate.Pass(); };
    }
  }
  ~HungDesk() { gate.Open(); }
  Code SyncOf(uint32_t region) {
    auto done = desk.sync.Run({desk.members[region]});
    return done.ok() ? Code::kOk : done.error().code;
  }

  Gate gate;
  AtomicDesk desk;
};

}  // namespace

FARPAGE_TEST(atomic_hung_store_delays_no_sync_of_another_region) {
  std::vector<std::unique_ptr<Submitted>> held;
  HungDesk test(3);
  AtomicDesk& desk = test.desk;
  desk.Put(0, 1, 11);
  desk.Put(0, 2, 12);
  held.push_back(std::make_unique<Submitted>(desk, std::vector<uint32_t>{0}));
  REQUIRE(test.gate.AwaitHeld(1));
  // What it wrote meanwhile is in its next sync, which waits for this one.
  desk.Put(0, 1, 21);
  held.push_back(std::make_unique<Submitted>(desk, std::vector<uint32_t>{0}));
  for (uint64_t value = 1; value <= 5; value++) {
    for (const uint32_t region : {1, 2}) {
      desk.Put(region, 3, value);
      CHECK_EQ(int(test.SyncOf(region)), int(Code::kOk));
      CHECK_EQ(desk.Stored(region, 3), value);
    }
  }
  // Two regions at one instant.
  desk.Put(1, 0, 31);
  desk.Put(2, 0, 32);
  Submitted both(desk, {1, 2});
  CHECK(both.Await());
  CHECK_EQ(desk.Stored(1, 0), 31u);
  CHECK_EQ(desk.Stored(2, 0), 32u);
  CHECK(!held[0]->ended && !held[1]->ended);
  CHECK_EQ(desk.Stored(0, 1), 0u);
  test.gate.Open();
  for (const auto& each : held) {
    CHECK(each->Await());
    CHECK_EQ(int(each->code.load()), int(Code::kOk));
  }
  // The bytes of the first sync were not those of later ones.
  CHECK_EQ(desk.Stored(0, 1), 21u);
  CHECK_EQ(desk.Stored(0, 2), 12u);
  CHECK_EQ(desk.Dirty(), 0u);
}

FARPAGE_TEST(atomic_hung_store_gets_the_bytes_of_its_sync_however_many_come_after) {
  HungDesk test(2);
  AtomicDesk& desk = test.desk;
  for (PageIndex page = 0; page < 4; page++) desk.Put(0, page, 100 + page);
  Submitted held(desk, {0});
  REQUIRE(test.gate.AwaitHeld(1));
  for (uint64_t value = 1; value <= 3; value++) {
    for (PageIndex page = 0; page < 4; page++) {
      desk.Put(0, page, 200 + page);
      desk.Put(1, page, value);
    }
    CHECK_EQ(int(test.SyncOf(1)), int(Code::kOk));
  }
  test.gate.Open();
  CHECK(held.Await());
  for (PageIndex page = 0; page < 4; page++) CHECK_EQ(desk.Stored(0, page), 100 + page);
  CHECK_EQ(int(test.SyncOf(0)), int(Code::kOk));
  for (PageIndex page = 0; page < 4; page++) CHECK_EQ(desk.Stored(0, page), 200 + page);
}

// A sync of several regions waits for all of them, and keeps none of them from its own syncs.
FARPAGE_TEST(atomic_sync_of_several_regions_waits_for_a_hung_one_alone) {
  std::vector<std::unique_ptr<Submitted>> held;
  HungDesk test(2);
  AtomicDesk& desk = test.desk;
  desk.Put(0, 1, 1);
  held.push_back(std::make_unique<Submitted>(desk, std::vector<uint32_t>{0}));
  REQUIRE(test.gate.AwaitHeld(1));
  desk.Put(0, 1, 2);
  held.push_back(std::make_unique<Submitted>(desk, std::vector<uint32_t>{0, 1}));
  desk.Put(1, 1, 3);
  Submitted alone(desk, {1});
  CHECK(alone.Await());
  CHECK_EQ(int(alone.code.load()), int(Code::kOk));
  CHECK_EQ(desk.Stored(1, 1), 3u);
  desk.Put(1, 1, 4);
  CHECK(!held[0]->ended && !held[1]->ended);
  test.gate.Open();
  for (const auto& each : held) CHECK(each->Await());
  CHECK_EQ(desk.Stored(0, 1), 2u);
  CHECK_EQ(desk.Stored(1, 1), 4u);
}

FARPAGE_TEST(atomic_journal_full_of_hung_stores_tells_the_next_sync) {
  std::vector<std::unique_ptr<Submitted>> held;
  HungDesk test(kJournalSegmentsMax + 1, kJournalSegmentsMax);
  AtomicDesk& desk = test.desk;
  for (uint32_t region = 0; region < kJournalSegmentsMax; region++) {
    desk.Put(region, 1, 1);
    held.push_back(std::make_unique<Submitted>(desk, std::vector<uint32_t>{region}));
  }
  REQUIRE(test.gate.AwaitHeld(int(kJournalSegmentsMax)));
  Submitted nothing(desk, {uint32_t(kJournalSegmentsMax)});
  CHECK(nothing.Await());
  CHECK_EQ(int(nothing.code.load()), int(Code::kOk));  // it needs no segment
  desk.Put(kJournalSegmentsMax, 1, 2);
  Submitted refused(desk, {uint32_t(kJournalSegmentsMax)});
  CHECK(refused.Await());
  CHECK_EQ(int(refused.code.load()), int(Code::kTimeout));
  CHECK_EQ(desk.members[kJournalSegmentsMax].region->table->dirty(), 1u);
  test.gate.Open();
  for (const auto& each : held) {
    CHECK(each->Await());
    CHECK_EQ(int(each->code.load()), int(Code::kOk));
  }
  CHECK_EQ(int(test.SyncOf(kJournalSegmentsMax)), int(Code::kOk));
  CHECK_EQ(desk.Stored(kJournalSegmentsMax, 1), 2u);
  CHECK_EQ(desk.Dirty(), 0u);
}

namespace {

// What page 1 of region 1 is after a start from what there is now.
uint64_t Recovered(AtomicDesk& desk) {
  MemoryJournal journal{desk.journal.segments};
  auto found = JournalFolder::Over(desk.folder.File("none"), journal.Opener());
  if (!found.ok()) return 0;
  std::vector<Bytes> copies = desk.bytes;
  const auto open = [&](const JournalStore& store) {
    const size_t n = store.inode - 1;
    return Result<std::unique_ptr<PageStore>>(
        std::make_unique<RecordingStore>(&copies[n], &desk.names[n]));
  };
  std::vector<RecoveredStore> done;
  CHECK(found.value()->Recover(open, &done).ok());
  uint64_t value = 0;
  std::memcpy(&value, copies[1].data() + kPageBytes, 8);
  return value;
}

// The file of the second segment fails from its n-th write on, while the first one is held or is
// free again; false: it did not come to that.
bool FailSegment(int from, bool free) {
  HungDesk test(2);
  AtomicDesk& desk = test.desk;
  desk.Put(0, 1, 1);
  Submitted held(desk, {0});
  CHECK(test.gate.AwaitHeld(1));
  // The second segment is made by the first sync that needs it.
  desk.Put(1, 1, 1);
  CHECK_EQ(int(test.SyncOf(1)), int(Code::kOk));
  MemoryJournalFile& file = *desk.journal.files[1];
  int writes = 0;
  file.on_write = [&] {
    if (++writes >= from) file.fails_at = 1;
  };
  uint64_t told = 1;
  desk.Put(1, 1, 2);
  const bool failed = test.SyncOf(1) != Code::kOk;
  if (!failed) told = 2;
  CHECK(Recovered(desk) >= told);
  if (free) {
    test.gate.Open();
    CHECK(held.Await());
  }
  desk.Put(1, 1, 3);
  if (test.SyncOf(1) == Code::kOk) told = 3;
  CHECK(Recovered(desk) >= told);
  file.on_write = {};
  file.fails_at = 0;
  desk.Put(1, 1, 4);
  CHECK_EQ(int(test.SyncOf(1)), int(Code::kOk));
  CHECK_EQ(Recovered(desk), 4u);
  test.gate.Open();
  CHECK(held.Await());
  return failed;
}

}  // namespace

// What became of a sync whose segment failed does not come back over what its regions have synced
// in another one since.
FARPAGE_TEST(atomic_segment_whose_file_failed_brings_nothing_back) {
  for (const bool free : {false, true}) {
    int failures = 0;
    for (int from = 1; from <= 8; from++) failures += FailSegment(from, free) ? 1 : 0;
    CHECK(failures >= 5);
  }
}

namespace {

// Syncs of three regions, one of which stands still in the middle of one, and what each had then.
struct Recorded {
  static constexpr uint32_t kRegions = 3;
  static constexpr uint64_t kPages = 4;

  explicit Recorded(std::mt19937_64& random) : desk(kPages, kRegions) {
    for (uint32_t n = 0; n < kRegions; n++) {
      states[n].push_back(desk.bytes[n]);
      told[n].push_back(0);
    }
    for (int round = 0; round < 3; round++) Round(random);
  }
  void Round(std::mt19937_64& random) {
    Gate gate;
    int images = 0;
    desk.stores[0]->on_write = [&] {
      if (++images == 2) gate.Pass();
    };
    // Apart, for neighbours are written together: one of them is in its store then.
    for (PageIndex page = 0; page < kPages; page += 2) Write(0, page);
    std::thread slow([&] { Sync(0); });
    CHECK(gate.AwaitHeld(1));
    for (int sync = 0; sync < 3; sync++) {
      const uint32_t region = 1 + static_cast<uint32_t>(random() % 2);
      for (PageIndex page = 0; page < kPages; page++) {
        if (random() % 2 == 0 || page == 1) Write(region, page);
      }
      Sync(region);
    }
    gate.Open();
    slow.join();
    desk.stores[0]->on_write = {};
  }
  void Write(uint32_t region, PageIndex page) {
    desk.Put(region, page, ++value);
    std::memcpy(next[region].data() + (page << kPageShift), &value, 8);
  }
  void Sync(uint32_t region) {
    states[region].push_back(next[region]);
    CHECK(desk.sync.Run({desk.members[region]}).ok());
    told[region].push_back(desk.recording.size());
  }
  // Power goes after so many events; false: a store has neither its last sync nor the next.
  bool Survives(size_t count, std::mt19937_64& random) {
    MemoryJournal journal;
    for (size_t n = 0; n < journal.segments.size(); n++) {
      journal.segments[n] =
          desk.recording.AfterPowerLoss(AtomicDesk::kJournal + int(n), count, {}, random);
    }
    std::array<Bytes, kRegions> left;
    for (uint32_t n = 0; n < kRegions; n++) {
      left[n] = desk.recording.AfterPowerLoss(int(n), count, Bytes(kPages << kPageShift), random);
    }
    auto found = JournalFolder::Over(desk.folder.File("none"), journal.Opener());
    if (!found.ok()) return false;
    std::vector<RecoveredStore> done;
    const auto open = [&](const JournalStore& store) {
      const size_t n = store.inode - 1;
      return Result<std::unique_ptr<PageStore>>(
          std::make_unique<RecordingStore>(&left[n], &desk.names[n]));
    };
    if (!found.value()->Recover(open, &done).ok()) return false;
    for (uint32_t n = 0; n < kRegions; n++) {
      size_t last = 0;
      while (last + 1 < told[n].size() && told[n][last + 1] <= count) last++;
      const bool same = left[n] == states[n][last];
      if (!same && (last + 1 == states[n].size() || left[n] != states[n][last + 1])) return false;
    }
    return true;
  }

  AtomicDesk desk;
  uint64_t value = 0;
  std::array<Bytes, kRegions> next = {Bytes(kPages << kPageShift), Bytes(kPages << kPageShift),
                                      Bytes(kPages << kPageShift)};
  std::array<std::vector<Bytes>, kRegions> states;
  std::array<std::vector<size_t>, kRegions> told;  // the event after which each sync had been told
};

}  // namespace

FARPAGE_TEST(atomic_power_loss_beside_a_hung_store_leaves_the_old_or_the_new_sync) {
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", 20261126);
  std::mt19937_64 random(seed);
  Recorded recorded(random);
  CHECK(!recorded.desk.journal.segments[1].empty());
  for (size_t count = 0; count <= recorded.desk.recording.size(); count++) {
    for (int n = 0; n < 6; n++) {
      if (recorded.Survives(count, random)) continue;
      Fail(__FILE__, __LINE__,
           "a mix after event " + std::to_string(count) + ", seed " + std::to_string(seed));
      return;
    }
  }
}

}  // namespace farpage::test
