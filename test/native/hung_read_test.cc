// A device that answers no read must not let regions of other devices wait.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fetched.h"
#include "lossy_store.h"
#include "memory/mapped_memory.h"
#include "os/page_cache.h"
#include "slow_fixture.h"

namespace farpage::test {
namespace {

constexpr uint32_t kThreads = 4;  // that one device may have (ApplianceOptions)
constexpr uint32_t kReads = 3 * kThreads;

// Somebody who waits for absent pages of a region.
struct Asking {
  Asking(Appliance& appliance, uint32_t stag) : user(appliance.Connect()) {
    CHECK(user != nullptr);
    PostReads(*user, stag, kReads, 8, into);
  }
  std::vector<std::byte> into;
  std::unique_ptr<Initiator> user;
};

}  // namespace

// Two regions of one device, and far more faults than there are threads.
FARPAGE_TEST(hung_reads_of_one_device_delay_no_fill_from_another) {
  Neighbours house(1024);
  auto& one = house.AddSilent(16, 7);
  auto& two = house.AddSilent(16, 7);
  auto& other = house.Add(512, false, 8);
  other.memory->polls = false;  // its fills need those threads, too
  Asking first(house.appliance, one.stag);
  REQUIRE(Await([&] { return Neighbours::HeldReads({&one}) == kThreads; }));
  Asking second(house.appliance, two.stag);
  house.Get(other, 0, 256);
  // A store that is no file waits for no device either.
  auto& anonymous = house.Add(64);
  anonymous.memory->polls = false;
  house.Get(anonymous, 0, 64);
  CHECK_EQ(Neighbours::HeldReads({&one, &two}), kThreads);
  one.memory->hold_fills = two.memory->hold_fills = false;
  CHECK_EQ(int(AwaitAll(*first.user, kPatienceNs)), 0);
  CHECK_EQ(int(AwaitAll(*second.user, kPatienceNs)), 0);
  CHECK_EQ(one.region->table->present() + two.region->table->present(), 2 * kReads);
  house.Get(other, 256, 256);
}

FARPAGE_TEST(hung_read_is_not_needed_for_what_is_written_as_a_whole) {
  Neighbours house(1024);
  auto& silent = house.AddSilent(16, 7);
  Asking asking(house.appliance, silent.stag);
  REQUIRE(Await([&] { return Neighbours::HeldReads({&silent}) == kThreads; }));
  house.Put(silent, kReads, 16 - kReads, 5);
  house.Get(silent, kReads, 16 - kReads);
  CHECK_EQ(silent.region->table->dirty(), 16 - kReads);
  silent.memory->hold_fills = false;
  CHECK_EQ(int(AwaitAll(*asking.user, kPatienceNs)), 0);
}

// The read that it waits for, because it was begun for somebody else, may fail.
FARPAGE_TEST(hung_read_that_fails_is_no_failure_of_what_is_written_as_a_whole) {
  Neighbours house(1024);
  auto& silent = house.AddSilent(16, 7);
  const auto reader = house.appliance.Connect();
  const auto writer = house.appliance.Connect();
  std::vector<std::byte> into;
  PostReads(*reader, silent.stag, 1, 8, into);
  REQUIRE(Await([&] { return Neighbours::HeldReads({&silent}) == 1; }));
  const std::vector<std::byte> bytes(kPageBytes, std::byte{6});
  WorkRequest write;
  write.opcode = Opcode::kWrite;
  write.stag = silent.stag;
  write.length_bytes = uint32_t(kPageBytes);
  write.local = const_cast<std::byte*>(bytes.data());
  REQUIRE(writer->Post({&write, 1}) == 1u);
  writer->Flush();
  REQUIRE(Await([&] { return silent.region->fills.demands.load() == 2; }));
  silent.plan.Arm(kFaultyRead, 1);
  silent.memory->hold_fills = false;
  CHECK_EQ(int(AwaitAll(*reader, kPatienceNs)), int(Code::kIo));
  CHECK_EQ(int(AwaitAll(*writer, kPatienceNs)), 0);
  house.Get(silent, 0, 1);
  CHECK_EQ(silent.region->table->dirty(), 1u);
}

FARPAGE_TEST(hung_reads_of_several_devices_delay_no_fill_from_another) {
  Neighbours house(1024);
  std::vector<std::unique_ptr<Asking>> asking;
  std::vector<Neighbours::Neighbour*> silent;
  for (uint64_t device = 1; device < kHungDevicesMax; device++) {
    silent.push_back(&house.AddSilent(16, device));
    asking.push_back(std::make_unique<Asking>(house.appliance, silent.back()->stag));
    REQUIRE(Await([&] { return Neighbours::HeldReads({silent.back()}) == kThreads; }));
  }
  auto& other = house.Add(64, false, 9);
  other.memory->polls = false;
  house.Get(other, 0, 64);
  for (auto* each : silent) each->memory->hold_fills = false;
  for (const auto& each : asking) CHECK_EQ(int(AwaitAll(*each->user, kPatienceNs)), 0);
}

// One thread hangs, and nobody is there who says that the next one waits.
FARPAGE_TEST(hung_read_is_not_waited_for_by_what_is_queued_behind_it) {
  Neighbours house(1024);
  auto& silent = house.AddSilent(16, 7);
  auto& other = house.Add(96, false, 8);
  const auto touch = [&house](const Neighbours::Neighbour& made, PageIndex page) {
    const FaultOutcome outcome = house.appliance.pager.Fault(
        made.region, {page, 1}, FaultKind::kRead, nullptr, 0, nullptr, nullptr);
    CHECK(outcome.next == FaultOutcome::Next::kPending);
  };
  touch(silent, 0);
  REQUIRE(Await([&] { return Neighbours::HeldReads({&silent}) == 1; }));
  const uint64_t taken_ns = NowNs();
  CHECK(Await([&] { return NowNs() > taken_ns + kSlowFillNs; }));
  for (PageIndex page = 0; page < 64; page++) touch(other, page);
  REQUIRE(Await([&] { return other.region->table->present() == 64; }));
  // One by one: that another thread has just taken a job says nothing about the one that hangs.
  for (PageIndex page = 64; page < 96; page++) {
    touch(other, page);
    REQUIRE(Await([&] { return other.region->table->present() == page + 1; }));
  }
  silent.memory->hold_fills = false;
  CHECK(Await([&] { return silent.region->table->present() == 1; }));
}

// A file system without RWF_NOWAIT cannot tell when a read is done (NFS, and /proc): a door that
// took its refusal for an answer would wait in its turn. What is in memory never waits.
FARPAGE_TEST(hung_read_of_a_file_system_that_cannot_tell_is_no_matter_of_the_door) {
  const Fd refuses(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  CHECK(!TellsReads(refuses.get()));
  const Fd in_memory(::memfd_create("tells", MFD_CLOEXEC));
  CHECK_EQ(::ftruncate(in_memory.get(), off_t(2 * kPageBytes)), 0);
  CHECK(TellsReads(in_memory.get()));
  auto memory = MappedMemory::Create(in_memory.get(), 0, 2 * kPageBytes, false);
  REQUIRE(memory.ok());
  CHECK(memory.value()->polls_reads() && memory.value()->IsRead({0, 2}));
  Neighbours house(64);
  auto& silent = house.AddSilent(16, 7);
  auto& other = house.Add(64, false, 8);
  silent.memory->polls = false;
  Asking asking(house.appliance, silent.stag);
  REQUIRE(Await([&] { return Neighbours::HeldReads({&silent}) != 0; }));
  house.Get(other, 0, 64);
  silent.memory->hold_fills = false;
  CHECK_EQ(int(AwaitAll(*asking.user, kPatienceNs)), 0);
}

FARPAGE_TEST(hung_reads_of_prefetches_delay_no_prefetch_of_another_region) {
  std::vector<std::unique_ptr<Fetched>> held;  // told until the house is gone
  Neighbours house(1024);
  std::vector<Neighbours::Neighbour*> silent;
  for (int n = 0; n < 3; n++) {
    silent.push_back(&house.AddSilent(16, 7));
    // The second one of a region waits for the first.
    for (int again = 0; again < 2; again++) {
      held.push_back(std::make_unique<Fetched>(house.appliance, silent.back()->region));
    }
    REQUIRE(Await([&] { return Neighbours::HeldReads({silent.back()}) == 1; }));
    auto& other = house.Add(200, false, 8);
    Fetched passing(house.appliance, other.region);
    CHECK_EQ(passing.Await().filled_pages, 200u);
  }
  for (const auto& each : held) CHECK(!each->ended());
  for (auto* each : silent) {
    CHECK_EQ(Neighbours::HeldReads({each}), 1u);
    each->memory->hold_fills = false;
  }
  uint64_t filled = 0;
  for (const auto& each : held) {
    const PrefetchReport report = each->Await();
    CHECK(report.outcome.ok());
    filled += report.filled_pages;
  }
  CHECK_EQ(filled, 3u * 16);
}

// Regions of one hung device have so many threads of prefetches and no more.
FARPAGE_TEST(hung_device_has_a_part_of_the_prefetch_threads) {
  std::vector<std::unique_ptr<Fetched>> held;  // told until the house is gone
  Neighbours house(1024);
  std::vector<Neighbours::Neighbour*> silent;
  for (size_t n = 0; n < kDeviceLanesMax + 2; n++) {
    silent.push_back(&house.AddSilent(16, 7));
    held.push_back(std::make_unique<Fetched>(house.appliance, silent.back()->region));
  }
  const auto waiting = [&] {
    uint32_t held_reads = 0;
    for (auto* each : silent) held_reads += Neighbours::HeldReads({each});
    return held_reads;
  };
  REQUIRE(Await([&] { return waiting() == kDeviceLanesMax; }));
  auto& other = house.Add(200, false, 8);
  Fetched passing(house.appliance, other.region);
  CHECK_EQ(passing.Await().filled_pages, 200u);
  CHECK_EQ(waiting(), kDeviceLanesMax);
  for (auto* each : silent) each->memory->hold_fills = false;
  for (const auto& each : held) CHECK_EQ(each->Await().filled_pages, 16u);
}

// A pull whose own file takes no writes.
FARPAGE_TEST(hung_kept_file_of_a_pull_delays_no_prefetch_of_another_region) {
  FaultPlan plan;
  Gate gate;
  Pull pull;
  pull.store->on_write = [&gate](PageRun) { gate.Pass(); };
  pull.Begin();
  REQUIRE(gate.AwaitHeld(1));
  Region::Options options;
  options.size_bytes = uint64_t{200} << kPageShift;
  const FaultyRegion other = MakeFaultyRegion(options, &plan);
  pull.appliance.pager.AddRegion(other.region);
  Fetched passing(pull.appliance, other.region);
  CHECK_EQ(passing.Await().filled_pages, 200u);
  gate.Open();
  CHECK(pull.Ends());
  CHECK(pull.report.outcome.ok());
  CHECK_EQ(pull.store->durable_pages(), kPulledPages);
  other.region->removed = true;
  pull.appliance.pager.RemoveRegion(other.region);
}

}  // namespace farpage::test
