// Ranges of addresses: idle regions give theirs back and take another one when they are touched,
// with every byte where it was.
#include <fcntl.h>

#include <cstring>
#include <random>
#include <thread>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

constexpr uint64_t kBytes = 256 * 1024;

struct Ranges {
  // A bound of `regions` ranges.
  explicit Ranges(uint64_t regions, uint32_t nic_threads = 1, uint64_t frames_max = 1u << 20)
      : appliance(Settings(regions, nic_threads, frames_max)) {}
  ~Ranges() {
    for (const auto& reservation : reservations) appliance.pager.EndReservation(reservation);
    CHECK_EQ(appliance.pager.budget().used(), 0u);
    CHECK_EQ(appliance.pager.account()->bytes(), 0u);
    CHECK_EQ(appliance.pager.allocator().mapped_bytes(), 0u);
  }
  static ApplianceOptions Settings(uint64_t regions, uint32_t nic_threads, uint64_t frames_max) {
    ApplianceOptions options;
    options.frames_max = frames_max;
    options.mapped_bytes_max = regions * kBytes;
    options.nic_threads = nic_threads;
    // Pages read ahead would take frames behind a test's back.
    options.read_ahead_pages = 0;
    return options;
  }

  uint32_t Add(Reservation::Opener open) {
    reservations.push_back(std::make_shared<Reservation>(
        kBytes, true, appliance.pager.account(), std::move(open)));
    return appliance.domain->Register(reservations.back(), 0, kBytes, true).value();
  }
  uint32_t AddStaged() {
    return Add([]() -> Result<std::shared_ptr<Region>> {
      auto store = std::make_unique<FillValueStore>(FillValueStore::Value::kZero);
      auto memory = StagedMemory::Create(kBytes, store.get());
      if (!memory.ok()) return memory.error();
      return Assemble(std::move(store), std::move(memory).value());
    });
  }
  uint32_t AddMapped(const std::string& path) {
    return Add([path]() -> Result<std::shared_ptr<Region>> {
      auto store = FileStore::Open({path, 0, 0, true});
      if (!store.ok()) return store.error();
      auto memory = MappedMemory::Create(store.value()->fd(), 0, kBytes, true);
      if (!memory.ok()) return memory.error();
      return Assemble(std::move(store).value(), std::move(memory).value());
    });
  }
  static Result<std::shared_ptr<Region>> Assemble(std::unique_ptr<PageStore> store,
                                                  std::unique_ptr<RegionMemory> memory) {
    auto table = PageTable::Create(kBytes >> kPageShift);
    if (!table.ok()) return table.error();
    Region::Options options;
    options.size_bytes = kBytes;
    options.writable = true;
    return std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                    std::move(memory));
  }
  [[nodiscard]] uint64_t Mapped() const {
    uint64_t mapped = 0;
    for (const auto& reservation : reservations) {
      const auto region = reservation->region();
      if (region != nullptr && !region->parked.load()) mapped++;
    }
    return mapped;
  }
  // The last jobs of fills end a moment after their answers; until then a region is not idle.
  void AwaitIdle() const {
    const uint64_t deadline = NowNs() + 10'000'000'000;
    for (const auto& reservation : reservations) {
      const auto region = reservation->region();
      while (region != nullptr && region->jobs.load() != 0 && NowNs() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }
  bool Parked(size_t index) const { return reservations[index]->region()->parked.load(); }

  Appliance appliance;
  std::vector<std::shared_ptr<Reservation>> reservations;
};

std::string FileOf(const Appliance& appliance, const char* name) {
  const std::string path = appliance.folder.File(name);
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT, 0600));
  CHECK(::ftruncate(file.get(), off_t{kBytes}) == 0);
  return path;
}

}  // namespace

FARPAGE_TEST(address_ranges_are_shared_by_more_regions_than_fit) {
  Ranges ranges(4);
  auto initiator = ranges.appliance.Connect();
  std::vector<uint32_t> stags;
  for (uint64_t n = 0; n < 20; n++) stags.push_back(ranges.AddStaged());
  for (uint64_t round = 0; round < 3; round++) {
    for (uint64_t n = 0; n < stags.size(); n++) {
      uint64_t word = 0;
      CHECK_EQ(int(Read(*initiator, stags[n], n * kPageBytes, &word, 8).code), int(Code::kOk));
      CHECK_EQ(word, round == 0 ? 0 : n * 100 + round - 1);
      word = n * 100 + round;
      CHECK_EQ(int(Write(*initiator, stags[n], n * kPageBytes, &word, 8).code), int(Code::kOk));
      CHECK(ranges.Mapped() <= 4);
    }
  }
  CHECK(ranges.appliance.pager.allocator().parked() >= 40);
  // Dirty pages are where they were, with no range, and count.
  for (const auto& reservation : ranges.reservations) {
    CHECK_EQ(reservation->region()->table->dirty(), 1u);
  }
}

FARPAGE_TEST(address_ranges_go_from_those_that_were_idle_longest) {
  Ranges ranges(4);
  auto initiator = ranges.appliance.Connect();
  std::vector<uint32_t> stags;
  for (uint64_t n = 0; n < 6; n++) stags.push_back(ranges.AddStaged());
  uint64_t word = 0;
  const auto read = [&](size_t n) {
    CHECK_EQ(int(Read(*initiator, stags[n], 0, &word, 8).code), int(Code::kOk));
  };
  for (size_t n = 0; n < 5; n++) read(n);  // the hand has passed all, and parked the first
  CHECK(ranges.Parked(0));
  read(1);
  read(3);
  read(5);
  CHECK(!ranges.Parked(1));
  CHECK(ranges.Parked(2));
  CHECK(!ranges.Parked(3));
}

FARPAGE_TEST(address_ranges_of_a_file_go_only_while_nothing_is_dirty) {
  Ranges ranges(1);
  auto initiator = ranges.appliance.Connect();
  const uint32_t file = ranges.AddMapped(FileOf(ranges.appliance, "data"));
  const uint32_t other = ranges.AddStaged();
  uint64_t word = 42;
  CHECK_EQ(int(Write(*initiator, file, 8, &word, 8).code), int(Code::kOk));
  // The bound gives way: a dirty page of a private mapping is nowhere else.
  CHECK_EQ(int(Read(*initiator, other, 0, &word, 8).code), int(Code::kOk));
  CHECK(!ranges.Parked(0));
  const auto region = ranges.reservations[0]->region();
  CHECK(ranges.appliance.pager.write_back().Run(region, {0, 1}, true).ok());
  ranges.AddStaged();
  CHECK(ranges.appliance.pager.Allocate(ranges.reservations[2]).ok());
  CHECK(ranges.Parked(0));
  CHECK(region->memory->address() == nullptr);
  // Evicting what is present needs no range; nor does a sync of nothing.
  CHECK_EQ(ranges.appliance.pager.Reclaim(region, {0, 64}), 1u);
  CHECK(ranges.appliance.pager.write_back().Run(region, {0, 64}, true).ok());
  CHECK(ranges.Parked(0));
  CHECK_EQ(int(Read(*initiator, file, 8, &word, 8).code), int(Code::kOk));
  CHECK_EQ(word, 42u);
  CHECK(!ranges.Parked(0));
}

FARPAGE_TEST(address_ranges_come_back_for_a_write_back) {
  Ranges ranges(1);
  auto initiator = ranges.appliance.Connect();
  const std::string path = FileOf(ranges.appliance, "data");
  const uint32_t stag = ranges.Add([path]() -> Result<std::shared_ptr<Region>> {
    auto store = FileStore::Open({path, 0, 0, true});
    if (!store.ok()) return store.error();
    auto memory = StagedMemory::Create(kBytes, store.value().get());
    if (!memory.ok()) return memory.error();
    return Ranges::Assemble(std::move(store).value(), std::move(memory).value());
  });
  uint64_t word = 7;
  CHECK_EQ(int(Write(*initiator, stag, kPageBytes, &word, 8).code), int(Code::kOk));
  const uint32_t other = ranges.AddStaged();
  CHECK_EQ(int(Read(*initiator, other, 0, &word, 8).code), int(Code::kOk));
  CHECK(ranges.Parked(0));
  const auto region = ranges.reservations[0]->region();
  auto receipt = ranges.appliance.pager.write_back().Run(region, {0, 64}, true);
  REQUIRE(receipt.ok());
  CHECK_EQ(receipt.value().pages_written, 1u);
  CHECK(!ranges.Parked(0));
  CHECK(ranges.Parked(1));
  uint64_t found = 0;
  const Fd file(::open(path.c_str(), O_RDONLY));
  CHECK(::pread(file.get(), &found, 8, off_t(kPageBytes)) == 8);
  CHECK_EQ(found, 7u);
}

FARPAGE_TEST(address_ranges_come_back_for_a_prefetch) {
  Ranges ranges(1);
  auto initiator = ranges.appliance.Connect();
  const uint32_t stag = ranges.AddStaged();
  const uint32_t other = ranges.AddStaged();
  uint64_t word = 0;
  CHECK_EQ(int(Read(*initiator, stag, 0, &word, 8).code), int(Code::kOk));
  CHECK_EQ(int(Read(*initiator, other, 0, &word, 8).code), int(Code::kOk));
  CHECK(ranges.Parked(0));
  const auto region = ranges.reservations[0]->region();
  std::atomic<uint64_t> filled{0};
  std::atomic<bool> done{false};
  const auto job = ranges.appliance.pager.prefetcher().Begin(
      region, {0, region->table->pages()}, [&](const PrefetchReport& report) {
        filled = report.filled_pages;
        done = true;
      });
  const uint64_t deadline = NowNs() + 10'000'000'000;
  while (!done.load() && NowNs() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(done.load());
  CHECK_EQ(filled.load(), region->table->pages() - 1);
  CHECK(ranges.Parked(1));
}

// What is dirty in a region without a range goes into the tiers like anything else.
FARPAGE_TEST(address_ranges_are_not_needed_to_spill) {
  Ranges ranges(1, 1, 24);
  ranges.appliance.UseTiers(64, 4096);
  auto initiator = ranges.appliance.Connect();
  const uint32_t idle = ranges.AddStaged();
  const uint32_t other = ranges.AddStaged();
  const auto write = [&](uint32_t stag, uint64_t page) {
    const uint64_t word = page * 1000 + stag % 7;
    return Write(*initiator, stag, page << kPageShift, &word, 8).code;
  };
  for (uint64_t page = 0; page < 20; page++) CHECK_EQ(int(write(idle, page)), int(Code::kOk));
  ranges.AwaitIdle();
  for (uint64_t page = 0; page < 20; page++) CHECK_EQ(int(write(other, page)), int(Code::kOk));
  const auto region = ranges.reservations[0]->region();
  CHECK(region->table->present() < 20);
  CHECK_EQ(region->table->dirty(), 20u);
  for (const uint32_t stag : {idle, other}) {
    ranges.AwaitIdle();
    for (uint64_t page = 0; page < 20; page++) {
      uint64_t word = 0;
      CHECK_EQ(int(Read(*initiator, stag, page << kPageShift, &word, 8).code), int(Code::kOk));
      CHECK_EQ(word, page * 1000 + stag % 7);
    }
  }
  // Brought back by name, the region gets its range again.
  // Who has work under way keeps its range over the bound until the next one is taken, so one
  // touch of others may not be enough.
  const uint32_t third = ranges.AddStaged();
  const uint64_t deadline = NowNs() + 10'000'000'000;
  while (!ranges.Parked(0) && NowNs() < deadline) {
    CHECK_EQ(int(write(other, 0)), int(Code::kOk));
    uint64_t word = 0;
    CHECK_EQ(int(Read(*initiator, third, 0, &word, 8).code), int(Code::kOk));
  }
  CHECK(ranges.Parked(0));
  (void)ranges.appliance.pager.Demote(region, {0, 64});
  CHECK_EQ(region->table->present(), 0u);
  CHECK(ranges.Parked(0));
  (void)ranges.appliance.pager.Demote(ranges.reservations[1]->region(), {0, 64});
  CHECK_EQ(ranges.appliance.pager.Promote(region, {0, 8}), 8u);
  CHECK(!ranges.Parked(0));
}

// READs of 200 KB stand half-sent in a socket while their region is parked for others.
FARPAGE_TEST(address_ranges_go_under_answers_that_are_half_sent) {
  Ranges ranges(1);
  auto slow = ranges.appliance.Connect();
  auto quick = ranges.appliance.Connect();
  const uint32_t stag = ranges.AddStaged();
  const uint32_t other = ranges.AddStaged();
  std::vector<std::byte> bytes(200'000);
  for (size_t n = 0; n < bytes.size(); n++) bytes[n] = std::byte(n * 7 + n / 4096);
  CHECK_EQ(int(Write(*slow, stag, 0, bytes.data(), uint32_t(bytes.size())).code),
           int(Code::kOk));
  constexpr size_t kReads = 16;
  std::vector<std::vector<std::byte>> into(kReads, std::vector<std::byte>(bytes.size()));
  for (size_t n = 0; n < kReads; n++) {
    WorkRequest request;
    request.id = n;
    request.stag = stag;
    request.length_bytes = uint32_t(bytes.size());
    request.local = into[n].data();
    CHECK_EQ(slow->Post({&request, 1}), 1u);
  }
  slow->Flush();
  // The socket is full long before; nobody reads it yet.
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  uint64_t word = 0;
  size_t done = 0;
  const uint64_t deadline = NowNs() + 20'000'000'000;
  while (done < kReads && NowNs() < deadline) {
    CHECK_EQ(int(Read(*quick, other, 0, &word, 8).code), int(Code::kOk));
    Completion completion;
    while (slow->Poll({&completion, 1}) == 1) {
      CHECK_EQ(int(completion.code), int(Code::kOk));
      done++;
    }
    if (done < kReads) CHECK(slow->Wait(1'000, deadline).ok());
  }
  CHECK_EQ(done, kReads);
  for (const auto& found : into) CHECK(found == bytes);
  CHECK(ranges.appliance.pager.allocator().parked() > 1);
}

// Several connections over few ranges, with syncs and evictions beside them: no byte is lost.
FARPAGE_TEST(address_ranges_under_everything_at_once) {
  Ranges ranges(3, 2);
  constexpr size_t kRegions = 10;
  std::vector<uint32_t> stags;
  for (size_t n = 0; n < kRegions; n++) {
    const std::string name = "file" + std::to_string(n);
    stags.push_back(n % 2 == 0 ? ranges.AddStaged()
                               : ranges.AddMapped(FileOf(ranges.appliance, name.c_str())));
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint32_t n = 0; n < 3; n++) {
    threads.emplace_back([&, n] {
      std::mt19937_64 random(n);
      auto initiator = ranges.appliance.Connect(n == 0, n == 1, 16);
      // Each thread has a page of its own in every region.
      std::vector<uint64_t> expected(kRegions);
      const uint64_t end = NowNs() + 1'500'000'000;
      while (NowNs() < end) {
        const size_t region = random() % kRegions;
        const uint64_t at = (n * 20 + random() % 16) * kPageBytes;
        const uint64_t home = n * 20 * kPageBytes;
        uint64_t word = 0;
        CHECK_EQ(int(Read(*initiator, stags[region], home, &word, 8).code), int(Code::kOk));
        CHECK_EQ(word, expected[region]);
        word = expected[region] = random();
        CHECK_EQ(int(Write(*initiator, stags[region], home, &word, 8).code), int(Code::kOk));
        std::byte long_read[20'000];
        CHECK_EQ(int(Read(*initiator, stags[region], at, long_read, 20'000).code),
                 int(Code::kOk));
      }
    });
  }
  threads.emplace_back([&] {
    std::mt19937_64 random(99);
    while (!stop.load()) {
      const auto region = ranges.reservations[random() % kRegions]->region();
      if (region == nullptr) continue;
      if (random() % 2 == 0) {
        CHECK(ranges.appliance.pager.write_back().Run(region, {0, 64}, true).ok());
      } else {
        const RegionUse counted(*region);
        ranges.appliance.pager.Reclaim(region, {0, 64});
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (size_t n = 0; n < 3; n++) threads[n].join();
  stop.store(true);
  threads.back().join();
  CHECK(ranges.appliance.pager.allocator().parked() > 10);
}

}  // namespace farpage::test
