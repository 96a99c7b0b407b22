// Read-ahead: which streams are recognised, and how much is read that nobody asked for.
#include "appliance_fixture.h"
#include "check.h"
#include "elsewhere.h"

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

FARPAGE_TEST(read_ahead_of_nothing_where_it_is_turned_off) {
  Reader reader(0);
  for (PageIndex page = 0; page < 200; page += 10) reader.Access(page);
  for (PageIndex page = 1000; page < 1020; page++) reader.Access(page);
  CHECK_EQ(reader.Asked(), reader.accessed);
}

}  // namespace farpage::test
