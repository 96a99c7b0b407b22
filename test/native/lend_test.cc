// READs of untouched pages of a fill value, which are answered before the page is initialised.
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "faulty_fixture.h"
#include "pager/pager_marks.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 64;

// Staged memory whose commitment of pages takes its time, or fails.
class SlowMemory final : public RegionMemory {
 public:
  SlowMemory(std::unique_ptr<RegionMemory> memory, std::atomic<uint32_t>* delay_ms,
             std::atomic<bool>* full)
      : memory_(std::move(memory)), delay_ms_(delay_ms), full_(full) {}

  [[nodiscard]] std::byte* address() const override { return memory_->address(); }
  [[nodiscard]] uint64_t PopulatesInPlace(PageRun run) const override {
    return memory_->PopulatesInPlace(run);
  }
  void StartRead(PageRun run) override { memory_->StartRead(run); }
  [[nodiscard]] bool IsRead(PageRun run) const override { return memory_->IsRead(run); }
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override { return memory_->OriginOf(run); }
  Status Populate(PageRun run) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms_->load()));
    if (full_->load()) return Error{Code::kMemoryFull, 0, "no room, says the test"};
    return memory_->Populate(run);
  }
  Status MakeRoom(PageRun run) override { return memory_->MakeRoom(run); }
  void Drop(std::span<const PageRun> runs) override { memory_->Drop(runs); }
  void DropPrivateCopies(std::span<const PageRun>) override {}
  void DropWindow(PageRun) override {}
  [[nodiscard]] bool has_private_copies() const override { return false; }

 private:
  std::unique_ptr<RegionMemory> memory_;
  std::atomic<uint32_t>* delay_ms_;
  std::atomic<bool>* full_;
};

// An appliance with a region of one value in such memory.
struct Slow {
  explicit Slow(FillValueStore::Value value, const ApplianceOptions& options = {})
      : appliance(options) {
    auto store = std::make_unique<FillValueStore>(value);
    auto memory = StagedMemory::Create(kPages << kPageShift, store.get());
    if (!memory.ok()) std::abort();
    Region::Options region;
    region.size_bytes = kPages << kPageShift;
    region.writable = true;
    stag = appliance.Use(
        region, std::move(store),
        std::make_unique<SlowMemory>(std::move(memory).value(), &delay_ms, &full));
  }
  std::atomic<uint32_t> delay_ms{0};
  std::atomic<bool> full{false};
  Appliance appliance;
  uint32_t stag = 0;
};

// Posts requests together; whether all went well.
bool DoAll(Initiator& initiator, std::span<const WorkRequest> requests) {
  if (initiator.Post(requests) != requests.size()) return false;
  initiator.Flush();
  const uint64_t deadline = NowNs() + 10'000'000'000;
  for (size_t done = 0; done < requests.size();) {
    Completion completion;
    if (initiator.Poll({&completion, 1}) == 0) {
      if (!initiator.Wait(20'000, deadline).ok()) return false;
      continue;
    }
    if (completion.code != Code::kOk) return false;
    done++;
  }
  return true;
}

void CheckAnswers(FillValueStore::Value value, bool tcp, bool crc, uint8_t flags) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(kPages << kPageShift, value);
  auto initiator = appliance.Connect(tcp, crc, 64, flags);
  REQUIRE(initiator != nullptr);
  // Parts of one page, a whole one, and what reaches over two; small and gathered answers.
  const uint32_t sizes[] = {1, 64, 300, 3000, static_cast<uint32_t>(kPageBytes),
                            static_cast<uint32_t>(kPageBytes) + 64};
  PageIndex page = 0;
  uint64_t touched = 0;
  for (const uint32_t bytes : sizes) {
    std::vector<char> got(bytes, 'x');
    const uint64_t offset = (page << kPageShift) + (bytes < 3000 ? kPageBytes - bytes : 0);
    CHECK_EQ(int(Read(*initiator, stag, offset, got.data(), bytes).code), int(Code::kOk));
    CHECK(got == std::vector<char>(bytes, static_cast<char>(value)));
    appliance.pager.AwaitLent(*appliance.region);
    touched += PagesOf(offset, bytes).count;
    CHECK_EQ(appliance.region->table->present(), touched);
    CHECK_EQ(appliance.region->fills.filled_pages.load(), touched);
    CHECK_EQ(appliance.region->frames.used(), touched);
    page += 3;
  }
  CHECK_EQ(appliance.region->operations[0].faulted.load(), std::size(sizes));
  CHECK_EQ(appliance.region->operations[0].bypassed.load(), 0u);
  // Initialised: in memory is what was answered.
  std::vector<char> all(page << kPageShift, 'x');
  CHECK_EQ(int(Read(*initiator, stag, 0, all.data(), static_cast<uint32_t>(all.size())).code),
           int(Code::kOk));
  CHECK(all == std::vector<char>(all.size(), static_cast<char>(value)));
}

}  // namespace

FARPAGE_TEST(lend_answers_what_the_page_will_hold_and_initialises_it) {
  for (const auto value : {FillValueStore::Value::kZero, FillValueStore::Value::kOne}) {
    CheckAnswers(value, false, false, 3);
    CheckAnswers(value, true, false, 3);
    CheckAnswers(value, true, true, 3);
    CheckAnswers(value, true, false, 0);
  }
}

// Memory is full of what nothing takes: pages of a value need none of it, however many one READ
// asks for, and those between them that are there are as they were written.
FARPAGE_TEST(lend_answers_reads_of_many_pages_where_memory_is_full) {
  for (const uint8_t flags : {uint8_t{3}, uint8_t{0}}) {
    ApplianceOptions options;
    options.frames_max = 15;  // so few that writers leave none to those who read
    Appliance appliance(options);
    const uint32_t stag = appliance.OpenAnonymous(256 << kPageShift, FillValueStore::Value::kOne);
    auto initiator = appliance.Connect(true, false, 64, flags);
    REQUIRE(initiator != nullptr);
    const char written = 5;
    for (PageIndex page = 100; page < 115; page++) {
      const Completion done = Write(*initiator, stag, page << kPageShift, &written, 1);
      CHECK_EQ(int(done.code), int(Code::kOk));
    }
    std::vector<char> want(200 << kPageShift, '\xff');
    for (PageIndex page = 100; page < 115; page++) want[(page - 1) << kPageShift] = written;
    for (const uint32_t bytes : {2u << kPageShift, 200u << kPageShift}) {
      std::vector<char> got(bytes, 'x');
      const Completion done = Read(*initiator, stag, 1 << kPageShift, got.data(), bytes);
      CHECK_EQ(int(done.code), int(Code::kOk));
      CHECK(std::equal(got.begin(), got.end(), want.begin()));
    }
    // More than a socket holds, taken late: bytes that are sent later are the same.
    std::vector<std::vector<std::byte>> late(8, std::vector<std::byte>(want.size()));
    for (auto& into : late) {
      const WorkRequest read{0, Opcode::kRead, stag, kPageBytes, uint32_t(want.size()),
                             into.data()};
      REQUIRE(initiator->Post({&read, 1}) == 1u);
    }
    initiator->Flush();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK_EQ(int(AwaitAll(*initiator)), 0);
    for (const auto& got : late) CHECK(std::memcmp(got.data(), want.data(), want.size()) == 0);
    CHECK_EQ(appliance.region->table->present(), 15u);
    // What has to be written needs a frame, as before.
    const Completion full = Write(*initiator, stag, 0, &written, 1);
    CHECK_EQ(int(full.code), int(flags == 0 ? Code::kIo : Code::kMemoryFull));
  }
}

FARPAGE_TEST(lend_answers_first_and_who_asks_afterwards_sees_the_page) {
  Slow slow(FillValueStore::Value::kOne);
  slow.delay_ms = 50;
  auto initiator = slow.appliance.Connect();
  REQUIRE(initiator != nullptr);
  char byte = 0;
  for (PageIndex page = 0; page < 3; page++) {
    CHECK_EQ(int(Read(*initiator, slow.stag, page << kPageShift, &byte, 1).code), int(Code::kOk));
    CHECK_EQ(int(static_cast<uint8_t>(byte)), 0xff);
    slow.appliance.pager.AwaitLent(*slow.appliance.region);
    CHECK_EQ(slow.appliance.region->table->present(), page + 1);
  }
  // What was answered a moment ago can be reclaimed as well.
  CHECK_EQ(int(Read(*initiator, slow.stag, 3 << kPageShift, &byte, 1).code), int(Code::kOk));
  CHECK_EQ(slow.appliance.pager.Reclaim(slow.appliance.region, {0, kPages}), 4u);
  CHECK_EQ(slow.appliance.pager.budget().used(), 0u);
}

FARPAGE_TEST(lend_answers_many_reads_of_one_page_at_once) {
  Slow slow(FillValueStore::Value::kOne);
  auto initiator = slow.appliance.Connect();
  REQUIRE(initiator != nullptr);
  std::vector<std::byte> got(64 * 64, std::byte{7});
  for (PageIndex page = 0; page < kPages; page += 32) {
    std::vector<WorkRequest> requests(64);
    for (uint32_t n = 0; n < 64; n++) {
      requests[n].id = n;
      requests[n].stag = slow.stag;
      // More pages than one round of answers may leave behind, each twice.
      requests[n].remote_offset = (page + n % 32) * kPageBytes + n * 16;
      requests[n].length_bytes = 64;
      requests[n].local = got.data() + n * 64;
    }
    REQUIRE(DoAll(*initiator, requests));
  }
  for (const std::byte byte : got) CHECK_EQ(int(byte), 0xff);
  slow.appliance.pager.AwaitLent(*slow.appliance.region);
  CHECK_EQ(slow.appliance.region->table->present(), kPages);
  CHECK_EQ(slow.appliance.region->frames.used(), kPages);
}

// They come in one piece: the page is lent when the WRITE behind it is placed.
FARPAGE_TEST(lend_is_over_before_a_write_behind_the_read) {
  for (const int flags : {kFlagAnyOrder | kFlagReason, 0}) {
    Slow slow(FillValueStore::Value::kOne);
    auto initiator = slow.appliance.Connect(false, false, 64, static_cast<uint8_t>(flags));
    REQUIRE(initiator != nullptr);
    for (PageIndex page = 0; page < kPages; page++) {
      uint64_t seen = 0;
      uint64_t word = 0x1234'0000 + page;
      uint64_t later = 0;
      const uint64_t offset = page << kPageShift;
      std::vector<WorkRequest> requests(4);
      for (uint32_t n = 0; n < 4; n++) {
        requests[n] = {n, Opcode::kRead, slow.stag, offset, 8, nullptr, 0, 0};
      }
      requests[0].local = reinterpret_cast<std::byte*>(&seen);
      requests[1].opcode = Opcode::kWrite;
      requests[1].local = reinterpret_cast<std::byte*>(&word);
      requests[2].length_bytes = 0;
      requests[3].local = reinterpret_cast<std::byte*>(&later);
      REQUIRE(DoAll(*initiator, requests));
      CHECK_EQ(seen, ~uint64_t{0});
      CHECK_EQ(later, word);
    }
    CHECK_EQ(slow.appliance.region->table->dirty(), kPages);
    CHECK_EQ(slow.appliance.region->fills.lent_pages.load(), 0u);
  }
}

namespace {

void CheckWritesStay(uint64_t frames_max, PageIndex pages) {
  ApplianceOptions options;
  options.nic_threads = 2;
  options.frames_max = frames_max;
  Slow slow(FillValueStore::Value::kOne, options);
  auto reader = slow.appliance.Connect();
  auto writer = slow.appliance.Connect();
  REQUIRE(reader != nullptr && writer != nullptr);
  std::vector<std::byte> rest((kPages - pages) << kPageShift);
  if (!rest.empty()) {  // present, because one READ wants several
    const auto length = static_cast<uint32_t>(rest.size());
    CHECK_EQ(int(Read(*reader, slow.stag, pages << kPageShift, rest.data(), length).code), 0);
  }
  for (PageIndex page = 0; page < pages; page++) {
    // Now and then the page takes so long that the write comes in between for certain.
    slow.delay_ms = page % 16 == 0 ? 20 : 0;
    const uint64_t offset = page << kPageShift;
    const uint64_t word = 0x1234'0000 + page;
    std::atomic<bool> go{false};
    std::thread writes([&] {
      while (!go.load()) {
      }
      CHECK_EQ(int(Write(*writer, slow.stag, offset, &word, 8).code), int(Code::kOk));
    });
    uint64_t seen = 0;
    if (page % 2 == 0) {
      CHECK_EQ(int(Read(*reader, slow.stag, offset, &seen, 8).code), int(Code::kOk));
      CHECK_EQ(seen, ~uint64_t{0});
      go = true;
    } else {
      go = true;
      CHECK_EQ(int(Read(*reader, slow.stag, offset, &seen, 8).code), int(Code::kOk));
      CHECK(seen == word || seen == ~uint64_t{0});
    }
    writes.join();
    CHECK_EQ(int(Read(*reader, slow.stag, offset, &seen, 8).code), int(Code::kOk));
    CHECK_EQ(seen, word);
    CHECK_EQ(int(Read(*reader, slow.stag, offset + 8, &seen, 8).code), int(Code::kOk));
    CHECK_EQ(seen, ~uint64_t{0});
  }
  CHECK_EQ(slow.appliance.region->table->dirty(), pages);
}

}  // namespace

FARPAGE_TEST(lend_loses_no_write_of_another_connection) {
  CheckWritesStay(1u << 20, kPages);
  // The last pages are not initialised for a READ: the WRITE finds them absent again.
  CheckWritesStay(kPages, kPages / 2);
}

// Untouched pages of a value are the same in memory and out of it: for them nothing else goes.
FARPAGE_TEST(lend_pushes_nothing_out_of_a_full_memory) {
  ApplianceOptions options;
  options.frames_max = 32;
  Slow slow(FillValueStore::Value::kOne, options);
  const uint64_t low = LowMark(options.frames_max);
  auto initiator = slow.appliance.Connect();
  REQUIRE(initiator != nullptr);
  uint64_t word = 0;
  for (int round = 0; round < 3; round++) {
    for (PageIndex page = 0; page < kPages; page++) {
      REQUIRE(Read(*initiator, slow.stag, page << kPageShift, &word, 8).code == Code::kOk);
      CHECK_EQ(word, ~uint64_t{0});
    }
    slow.appliance.pager.AwaitLent(*slow.appliance.region);
    CHECK_EQ(slow.appliance.region->table->present(), low);
    CHECK_EQ(slow.appliance.region->frames.used(), low);
    CHECK_EQ(slow.appliance.pager.budget().used(), low);
    CHECK_EQ(slow.appliance.pager.evicted_pages(), 0u);
  }
  // The first ones came when there was room, and stayed.
  CHECK_EQ(slow.appliance.region->operations[0].bypassed.load(), 2 * low);
  // What needs a frame gets one.
  word = 0x1234;
  const uint64_t last = (kPages - 1) << kPageShift;
  for (uint64_t n = 0; n < 8; n++) {
    const uint64_t offset = last - (n << kPageShift);
    CHECK_EQ(int(Write(*initiator, slow.stag, offset, &word, 8).code), int(Code::kOk));
  }
  for (uint64_t n = 0; n < 8; n++) {
    uint64_t seen = 0;
    const uint64_t offset = last - (n << kPageShift);
    CHECK_EQ(int(Read(*initiator, slow.stag, offset, &seen, 8).code), int(Code::kOk));
    CHECK_EQ(seen, word);
  }
}

FARPAGE_TEST(lend_answers_the_truth_where_there_is_no_memory) {
  for (const auto value : {FillValueStore::Value::kZero, FillValueStore::Value::kOne}) {
    Slow slow(value);
    slow.full = true;
    auto initiator = slow.appliance.Connect();
    REQUIRE(initiator != nullptr);
    char byte = 'x';
    for (int round = 0; round < 3; round++) {
      CHECK_EQ(int(Read(*initiator, slow.stag, 64, &byte, 1).code), int(Code::kOk));
      CHECK_EQ(int(byte), int(static_cast<char>(value)));
      slow.appliance.pager.AwaitLent(*slow.appliance.region);
      CHECK_EQ(slow.appliance.region->table->present(), 0u);
      CHECK_EQ(slow.appliance.region->frames.used(), 0u);
      CHECK_EQ(slow.appliance.pager.budget().used(), 0u);
    }
    CHECK_EQ(int(Write(*initiator, slow.stag, 64, "w", 1).code), int(Code::kMemoryFull));
    slow.full = false;
    initiator = slow.appliance.Connect();
    CHECK_EQ(int(Write(*initiator, slow.stag, 64, "w", 1).code), int(Code::kOk));
    CHECK_EQ(int(Read(*initiator, slow.stag, 64, &byte, 1).code), int(Code::kOk));
    CHECK_EQ(int(byte), int('w'));
  }
}

}  // namespace farpage::test
