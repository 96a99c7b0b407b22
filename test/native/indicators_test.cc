// Invalidation of ranges: what goes, what stays, and what the next touch finds.
#include <fcntl.h>

#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "faulty_fixture.h"
#include "pager/page_change.h"

namespace farpage::test {
namespace {

Invalidation Invalidate(Appliance& appliance, PageRun run, DirtyRule rule) {
  return appliance.pager.indicators().Invalidate(appliance.region, run, rule);
}

PageState StateAt(Appliance& appliance, PageIndex page) {
  return StateOf(appliance.region->table->Load(page));
}

// The first byte of a page, read by a client.
int ByteAt(Appliance& appliance, uint32_t stag, PageIndex page) {
  auto initiator = appliance.Connect();
  std::byte byte{};
  const Completion got = Read(*initiator, stag, page << kPageShift, &byte, 1);
  return got.code == Code::kOk ? int(byte) : -int(got.code);
}

void WriteByte(Appliance& appliance, uint32_t stag, PageIndex page, int value) {
  auto initiator = appliance.Connect();
  const auto byte = static_cast<std::byte>(value);
  CHECK_EQ(int(Write(*initiator, stag, page << kPageShift, &byte, 1).code), int(Code::kOk));
}

void MakeFile(const std::string& path, uint64_t pages, char byte) {
  std::ofstream(path, std::ios::binary) << std::string(pages << kPageShift, byte);
}

}  // namespace

FARPAGE_TEST(invalidate_forgets_clean_pages_and_the_next_touch_fills_again) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  MakeFile(path, 8, 'a');
  auto store = FileStore::Open({path, 0, 0, true});
  REQUIRE(store.ok());
  const uint32_t stag = appliance.OpenStaged(8 << kPageShift, std::move(store).value());
  for (PageIndex page = 0; page < 8; page++) CHECK_EQ(ByteAt(appliance, stag, page), 'a');
  MakeFile(path, 8, 'b');
  CHECK_EQ(ByteAt(appliance, stag, 3), 'a');
  const uint64_t before = appliance.pager.shootdown().grace_periods();
  const Invalidation gone = Invalidate(appliance, {2, 4}, DirtyRule::kRefuse);
  CHECK_EQ(gone.pages, 4u);
  CHECK_EQ(appliance.pager.shootdown().grace_periods() - before, 1u);
  CHECK_EQ(appliance.region->table->present(), 4u);
  CHECK_EQ(appliance.pager.budget().used(), 4u);
  for (PageIndex page = 0; page < 8; page++) {
    CHECK_EQ(ByteAt(appliance, stag, page), page >= 2 && page < 6 ? 'b' : 'a');
  }
}

FARPAGE_TEST(invalidate_refuses_keeps_or_discards_dirty_pages_as_it_is_told) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  MakeFile(path, 8, 'a');
  const uint32_t stag = appliance.OpenFile(path, true);
  for (PageIndex page = 0; page < 8; page++) CHECK_EQ(ByteAt(appliance, stag, page), 'a');
  WriteByte(appliance, stag, 1, 'w');
  WriteByte(appliance, stag, 5, 'w');
  CHECK(appliance.Sync(false).ok());  // written, not durable: still unsafe
  WriteByte(appliance, stag, 5, 'x');
  Invalidation outcome = Invalidate(appliance, {0, 8}, DirtyRule::kRefuse);
  CHECK_EQ(outcome.pages, 0u);
  CHECK_EQ(outcome.dirty_pages, 2u);
  CHECK_EQ(appliance.region->table->present(), 8u);
  outcome = Invalidate(appliance, {0, 8}, DirtyRule::kKeep);
  CHECK_EQ(outcome.pages, 6u);
  CHECK_EQ(outcome.dirty_pages, 2u);
  CHECK_EQ(ByteAt(appliance, stag, 5), 'x');
  outcome = Invalidate(appliance, {0, 8}, DirtyRule::kDiscard);
  CHECK_EQ(outcome.pages, 2u);
  CHECK_EQ(outcome.dirty_pages, 0u);
  CHECK_EQ(appliance.region->table->dirty(), 0u);
  CHECK_EQ(ByteAt(appliance, stag, 1), 'w');  // that had reached the file
  CHECK_EQ(ByteAt(appliance, stag, 5), 'w');
  const auto synced = appliance.Sync();
  REQUIRE(synced.ok());
  CHECK_EQ(synced.value().pages_written, 0u);
}

FARPAGE_TEST(invalidate_with_discard_gives_plain_memory_its_fill_value_back) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(8 << kPageShift, FillValueStore::Value::kOne);
  WriteByte(appliance, stag, 1, 'w');
  CHECK_EQ(appliance.region->table->written(), 1u);
  CHECK_EQ(Invalidate(appliance, {0, 8}, DirtyRule::kRefuse).dirty_pages, 1u);
  CHECK_EQ(ByteAt(appliance, stag, 1), 'w');
  CHECK_EQ(Invalidate(appliance, {0, 8}, DirtyRule::kDiscard).pages, 1u);
  CHECK_EQ(ByteAt(appliance, stag, 1), 0xff);
  CHECK_EQ(appliance.region->table->written(), 0u);
  CHECK_EQ(appliance.region->table->dirty(), 0u);
}

FARPAGE_TEST(invalidate_waits_for_fills_that_had_begun) {
  FaultyAppliance a({});
  a.memory->hold_fills.store(true);
  std::vector<std::byte> into;
  auto initiator = a.appliance.Connect();
  PostReads(*initiator, a.stag, 1, 64, into);
  a.AwaitFills(1);
  std::atomic<bool> returned{false};
  std::thread invalidator([&] {
    const Invalidation outcome = Invalidate(a.appliance, {0, 64}, DirtyRule::kRefuse);
    CHECK_EQ(outcome.busy_pages, 0u);
    returned.store(true);
  });
  Nap(20);
  CHECK(!returned.load());
  a.memory->hold_fills.store(false);
  CHECK_EQ(int(AwaitAll(*initiator)), int(Code::kOk));
  invalidator.join();
  CheckQuiet(a.appliance);
}

FARPAGE_TEST(invalidate_waits_for_no_fill_of_a_region_that_is_removed) {
  FaultyAppliance a({});
  a.memory->hold_fills.store(true);
  std::vector<std::byte> into;
  auto initiator = a.appliance.Connect();
  PostReads(*initiator, a.stag, 1, 64, into);
  a.AwaitFills(1);
  std::thread invalidator([&] {
    CHECK_EQ(Invalidate(a.appliance, {0, 64}, DirtyRule::kKeep).busy_pages, 1u);
  });
  Nap(5);
  a.appliance.region->removed.store(true);
  invalidator.join();
  a.memory->hold_fills.store(false);
  (void)AwaitAll(*initiator);
}

FARPAGE_TEST(invalidate_heals_lost_pages_by_discard_alone) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  MakeFile(path, 8, 'a');
  const uint32_t stag = appliance.OpenFile(path, true);
  WriteByte(appliance, stag, 5, 'w');
  CHECK(::truncate(path.c_str(), 2 << kPageShift) == 0);
  CHECK(!appliance.Sync().ok());
  MakeFile(path, 8, 'c');
  CHECK(StateAt(appliance, 5) == PageState::kLost);
  CHECK_EQ(ByteAt(appliance, stag, 5), -int(Code::kPageLost));
  CHECK_EQ(Invalidate(appliance, {0, 8}, DirtyRule::kRefuse).dirty_pages, 1u);
  CHECK_EQ(Invalidate(appliance, {0, 8}, DirtyRule::kDiscard).pages, 1u);
  CHECK_EQ(appliance.region->table->lost(), 0u);
  CHECK_EQ(ByteAt(appliance, stag, 5), 'c');
  CHECK(appliance.Sync().ok());
  CheckQuiet(appliance);
}

// A batch of any size takes one grace period, and costs what is present.
FARPAGE_TEST(invalidate_takes_scattered_pages_of_a_tebibyte_in_one_batch) {
  Appliance appliance;
  const uint64_t size = kSparseBytes;
  const uint32_t stag = appliance.OpenAnonymous(size, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  constexpr uint64_t kTouched = 500;
  std::byte byte{};
  for (uint64_t n = 0; n < kTouched; n++) {
    const uint64_t offset = n * (size / kTouched / kPageBytes * kPageBytes);
    CHECK_EQ(int(Read(*initiator, stag, offset, &byte, 1).code), int(Code::kOk));
  }
  appliance.pager.AwaitLent(*appliance.region);
  CHECK_EQ(appliance.region->table->present(), kTouched);
  const uint64_t before = appliance.pager.shootdown().grace_periods();
  CHECK_EQ(Invalidate(appliance, {0, size >> kPageShift}, DirtyRule::kRefuse).pages, kTouched);
  CHECK_EQ(appliance.pager.shootdown().grace_periods() - before, 1u);
  CHECK_EQ(appliance.region->table->present(), 0u);
  CHECK(appliance.region->table->present_summary().Next(0) ==
        appliance.region->table->present_summary().chunks());
}

}  // namespace farpage::test
