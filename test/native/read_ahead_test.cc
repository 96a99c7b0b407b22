// Read-ahead: which streams are recognised, and how much is read that nobody asked for.
#include "appliance_fixture.h"
#include "check.h"
#include "elsewhere.h"
#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 4000;
constexpr uint32_t kAheadPages = 16;

struct Reader {
  explicit Reader(uint32_t ahead_pages = kAheadPages) : appliance(Options(ahead_pages)) {
    stag = appliance.OpenStaged(kPages << kPageShift, std::make_unique<SlowElsewhere>());
    initiator = appliance.Connect();
  }
  static ApplianceOptions Options(uint32_t ahead_pages) {
    ApplianceOptions options;
    options.read_ahead_pages = ahead_pages;
    return options;
  }
  // Reads pages, and lets what was asked for ahead come before the next access.
  void Access(PageIndex page, uint32_t pages = 1) {
    std::vector<std::byte> bytes(pages << kPageShift);
    const Completion done = Read(*initiator, stag, page << kPageShift, bytes.data(),
                                 static_cast<uint32_t>(bytes.size()));
    REQUIRE(done.code == Code::kOk);
    CHECK(bytes.back() == SlowElsewhere::ByteOf(page + pages - 1));
    accessed += pages;
    const uint64_t deadline = NowNs() + 20'000'000'000;
    while (appliance.region->table->present() != Asked()) REQUIRE(NowNs() < deadline);
  }
  uint64_t Asked() const { return appliance.region->store->pages_read(); }
  uint64_t Faulted() const {
    uint64_t faulted = 0;
    for (const OperationCounters& lane : appliance.region->operations) {
      faulted += lane.faulted.load();
    }
    return faulted;
  }
  Appliance appliance;
  uint32_t stag = 0;
  std::unique_ptr<Initiator> initiator;
  uint64_t accessed = 0;
};

}  // namespace

FARPAGE_TEST(read_ahead_of_a_sequential_stream_meets_two_faults) {
  Reader reader;
  for (PageIndex page = 100; page < 400; page++) reader.Access(page);
  CHECK_EQ(reader.Faulted(), 2u);
  CHECK(reader.Asked() <= reader.accessed + 2 * kAheadPages);
}

FARPAGE_TEST(read_ahead_of_a_strided_stream_meets_three_faults_and_reads_what_is_used) {
  for (const int64_t stride : {2, 7, 33, -1, -13}) {
    Reader reader;
    const int64_t start = stride > 0 ? 5 : 3900;
    for (int64_t n = 0; n < 100; n++) reader.Access(static_cast<PageIndex>(start + n * stride));
    CHECK_EQ(reader.Faulted(), 3u);
    CHECK(reader.Asked() <= reader.accessed + 2 * kAheadPages);
    // Every page that came is one of the stride's.
    for (int64_t page = 0; page < int64_t{kPages}; page++) {
      const PageWord word = reader.appliance.region->table->Load(static_cast<PageIndex>(page));
      if (StateOf(word) == PageState::kPresent) CHECK_EQ((page - start) % stride, 0);
    }
  }
}

FARPAGE_TEST(read_ahead_of_strided_runs_brings_whole_runs) {
  Reader reader;
  for (PageIndex page = 0; page < 3000; page += 50) reader.Access(page, 4);
  CHECK_EQ(reader.Faulted(), 3u);
  CHECK_EQ(reader.accessed, 240u);
  CHECK(reader.Asked() <= reader.accessed + 2 * kAheadPages);
}

FARPAGE_TEST(read_ahead_of_a_stride_ends_with_the_region_and_with_what_may_be_read) {
  for (const int64_t stride : {1000, -1000}) {
    Reader reader;
    for (int64_t n = 0; n < 4; n++) {
      reader.Access(static_cast<PageIndex>((stride > 0 ? 5 : 3994) + n * stride));
    }
    CHECK_EQ(reader.Asked(), 4u);
  }
  Reader reader;
  REQUIRE(reader.appliance.pager.indicators()
              .Protect(*reader.appliance.region, {40, 4}, Permission::kNone)
              .ok());
  for (const PageIndex page : {10u, 20u, 30u}) reader.Access(page);
  CHECK(StateOf(reader.appliance.region->table->Load(40)) == PageState::kAbsent);
  CHECK(StateOf(reader.appliance.region->table->Load(50)) == PageState::kPresent);
}

FARPAGE_TEST(read_ahead_leaves_accesses_without_a_pattern_alone) {
  Reader reader;
  // No distance comes twice in a row.
  PageIndex page = 17;
  for (uint64_t n = 0; n < 60; n++) {
    reader.Access(page);
    page = (page + 400 + 13 * n) % kPages;
  }
  CHECK_EQ(reader.Asked(), reader.accessed);
  CHECK_EQ(reader.Faulted(), reader.accessed);
}

// What is brought before it is sent must still be there then: a region with few frames is read
// through, sixteen long READs at a time, without bringing its pages twice.
FARPAGE_TEST(read_ahead_of_a_region_with_few_frames_brings_each_page_once) {
  constexpr uint32_t kReads = 16;
  constexpr uint32_t kBytes = 256 * 1024;
  for (const uint64_t frames : {16u, 64u, 256u, 1024u}) {
    Appliance appliance(Reader::Options(64));
    Region::Options options;
    options.size_bytes = kPages << kPageShift;
    options.frames_max = frames;
    auto store = std::make_unique<SlowElsewhere>();
    auto memory = StagedMemory::Create(options.size_bytes, store.get());
    REQUIRE(memory.ok());
    const uint32_t stag = appliance.Use(options, std::move(store), std::move(memory).value());
    for (const uint8_t flags : {uint8_t{3}, uint8_t{0}}) {
      auto initiator = appliance.Connect(false, false, 64, flags);
      REQUIRE(initiator != nullptr);
      std::vector<std::byte> bytes(uint64_t{kReads} * kBytes);
      const uint64_t before = appliance.region->store->pages_read();
      const uint64_t first = flags == 0 ? bytes.size() : 0;
      std::vector<WorkRequest> requests;
      for (uint32_t n = 0; n < kReads; n++) {
        requests.push_back({n, Opcode::kRead, stag, first + uint64_t{n} * kBytes, kBytes,
                            bytes.data() + uint64_t{n} * kBytes});
      }
      REQUIRE(initiator->Post(requests) == kReads);
      initiator->Flush();
      for (uint32_t done = 0; done < kReads;) {
        Completion completion;
        if (initiator->Poll({&completion, 1}) == 0) {
          REQUIRE(initiator->Wait(20'000, NowNs() + 20'000'000'000).ok());
          continue;
        }
        CHECK_EQ(int(completion.code), int(Code::kOk));
        done++;
      }
      const uint64_t pages = bytes.size() >> kPageShift;
      const uint64_t asked = appliance.region->store->pages_read() - before;
      CHECK(asked <= pages + pages / 10);
      CHECK(bytes[5] == SlowElsewhere::ByteOf(first >> kPageShift));
    }
  }
}

// The same of READs of one page, which wait behind each other.
FARPAGE_TEST(read_ahead_behind_short_reads_brings_nothing_into_few_frames) {
  constexpr uint32_t kReads = 64;
  Appliance appliance(Reader::Options(64));
  Region::Options options;
  options.size_bytes = kPages << kPageShift;
  options.frames_max = 16;
  auto store = std::make_unique<SlowElsewhere>();
  auto memory = StagedMemory::Create(options.size_bytes, store.get());
  REQUIRE(memory.ok());
  const uint32_t stag = appliance.Use(options, std::move(store), std::move(memory).value());
  const auto initiator = appliance.Connect(false, false, 64, kFlagReason);
  REQUIRE(initiator != nullptr);
  std::vector<std::byte> bytes;
  for (const uint64_t step : {kPageBytes, 3 * kPageBytes}) {
    const uint64_t before = appliance.region->store->pages_read();
    PostReads(*initiator, stag, kReads, uint32_t(kPageBytes), bytes, step);
    CHECK_EQ(int(AwaitAll(*initiator)), int(Code::kOk));
    CHECK_EQ(appliance.region->store->pages_read() - before, kReads);
  }
}

FARPAGE_TEST(read_ahead_of_nothing_where_it_is_turned_off) {
  Reader reader(0);
  for (PageIndex page = 0; page < 200; page += 10) reader.Access(page);
  for (PageIndex page = 1000; page < 1020; page++) reader.Access(page);
  CHECK_EQ(reader.Asked(), reader.accessed);
}

}  // namespace farpage::test
