// Writers faster than memory: they make room for themselves, and readers keep what they use.
#include <fstream>

#include "check.h"
#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kFrames = 512;
constexpr PageIndex kHotPages = kFrames / 3;
constexpr PageIndex kWrittenPages = 6 * kFrames;

// A region of a file that somebody reads a third of the memory of, beside whatever the fixture
// opens for a writer.
struct Pressed {
  Pressed() : appliance(Settings()) {
    Region::Options options;
    options.size_bytes = (4 * kFrames) << kPageShift;
    options.writable = true;
    read = MakeFaultyRegion(options, &plan);
    appliance.pager.AddRegion(read.region);
    auto registered = appliance.domain->Register(read.region, 0, options.size_bytes, true);
    CHECK(registered.ok());
    read_stag = registered.value();
    reader = appliance.Connect();
    writer = appliance.Connect();
  }
  ~Pressed() {
    reader.reset();
    writer.reset();
    read.region->removed.store(true);
    appliance.domain->DeregisterAll(read.region.get());
    appliance.pager.RemoveRegion(read.region);
  }
  static ApplianceOptions Settings() {
    ApplianceOptions settings;
    settings.frames_max = kFrames;
    settings.read_ahead_pages = 0;
    settings.window_bytes = kPageBytes;
    return settings;
  }
  // One READ, of the hot pages in turn.
  void ReadOne() {
    uint64_t value = 1;
    const PageIndex page = reads++ % kHotPages;
    const auto done = Read(*reader, read_stag, page << kPageShift, &value, sizeof value);
    CHECK_EQ(int(done.code), int(Code::kOk));
    CHECK_EQ(value, 0u);
  }
  // They are in use: read three times.
  void WarmUp() {
    for (PageIndex n = 0; n < 3 * kHotPages; n++) ReadOne();
  }
  Code WriteOne(uint32_t stag, PageIndex page) {
    std::vector<uint64_t> bytes(kPageBytes / sizeof(uint64_t));
    for (size_t n = 0; n < bytes.size(); n++) bytes[n] = (page + 1) * (n + 0x9e3779b97f4a7c15);
    return Write(*writer, stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes)).code;
  }
  uint64_t Faulted() {
    uint64_t all = 0;
    for (const OperationCounters& lane : read.region->operations) all += lane.faulted.load();
    return all;
  }

  FaultPlan plan;
  FaultyRegion read;
  Appliance appliance;
  uint32_t read_stag = 0;
  uint64_t reads = 0;
  std::unique_ptr<Initiator> reader;
  std::unique_ptr<Initiator> writer;
};

}  // namespace

// A page in use is read once while several hundred are written, so that what its last uses are
// worth does not save it: it stays because who only writes pages takes those.
FARPAGE_TEST(pressure_of_a_writer_with_tiers_leaves_readers_their_pages) {
  Pressed test;
  test.appliance.UseTiers(64, kWrittenPages);
  const uint32_t stag =
      test.appliance.OpenAnonymous(kWrittenPages << kPageShift, FillValueStore::Value::kZero);
  test.WarmUp();
  const uint64_t faulted = test.Faulted();
  const uint64_t reads = test.reads;
  for (PageIndex page = 0; page < kWrittenPages; page++) {
    REQUIRE(test.WriteOne(stag, page) == Code::kOk);
    if (page % 3 == 0) test.ReadOne();
  }
  CHECK(test.reads - reads >= 5 * kHotPages);
  CHECK(test.Faulted() - faulted <= (test.reads - reads) / 20);
  CHECK(test.appliance.region->table->elsewhere() > kWrittenPages / 2);
  CHECK(test.appliance.pager.budget().pages() <= kFrames);
}

// The same where its pages come from scratch beside the writer.
FARPAGE_TEST(pressure_of_a_writer_lets_readers_get_their_pages) {
  Pressed test;
  test.appliance.UseTiers(64, kWrittenPages);
  const uint32_t stag =
      test.appliance.OpenAnonymous(kWrittenPages << kPageShift, FillValueStore::Value::kZero);
  for (PageIndex page = 0; page < kWrittenPages; page++) {
    REQUIRE(test.WriteOne(stag, page) == Code::kOk);
    if (page > kFrames) test.ReadOne();
    if (page == kWrittenPages / 2) test.reads = 0;
  }
  const uint64_t faulted = test.Faulted();
  const uint64_t reads = test.reads;
  for (PageIndex page = 0; page < kWrittenPages; page++) {
    REQUIRE(test.WriteOne(stag, page) == Code::kOk);
    test.ReadOne();
  }
  CHECK(test.Faulted() - faulted <= (test.reads - reads) / 20);
}

// Written, spilled and wanted again soon: that was no scan. Long after, it is like any other.
FARPAGE_TEST(pressure_takes_what_comes_back_soon_for_what_is_in_use) {
  Pressed test;
  test.appliance.UseTiers(64, kWrittenPages);
  const uint32_t stag =
      test.appliance.OpenAnonymous(kWrittenPages << kPageShift, FillValueStore::Value::kZero);
  for (PageIndex page = 0; page < kWrittenPages; page++) {
    REQUIRE(test.WriteOne(stag, page) == Code::kOk);
  }
  const Region& region = *test.appliance.region;
  PageTable& table = *region.table;
  CHECK_EQ(table.trial(), 0u);
  CHECK_EQ(table.dirty_trial(), table.present());
  const auto age = [&](PageIndex page) {
    return GhostAge(table.Load(page), test.appliance.pager.evictor().GhostNow(region));
  };
  // The one that went last: how many went with it in one batch depends on who had a core.
  PageIndex recent = 0;
  for (PageIndex page = 1; page < kWrittenPages; page++) {
    if (StateOf(table.Load(page)) == PageState::kAbsent && age(page) < age(recent)) recent = page;
  }
  REQUIRE(age(recent) + 1 < kGhostSteps);
  CHECK(age(0) >= kGhostSteps);
  for (const PageIndex page : {PageIndex{0}, recent}) {
    uint64_t value = 0;
    const auto done = Read(*test.writer, stag, page << kPageShift, &value, sizeof value);
    REQUIRE(done.code == Code::kOk);
    CHECK_EQ(OnTrial(table.Load(page)), page == 0);
  }
  test.appliance.RemoveRegion();
}

FARPAGE_TEST(pressure_of_a_writer_that_is_written_behind_leaves_readers_their_pages) {
  Pressed test;
  FaultPlan plan;
  Region::Options options;
  options.size_bytes = kWrittenPages << kPageShift;
  options.writable = true;
  options.write_behind = true;
  auto store = std::make_unique<FaultyStore>(options.size_bytes, &plan);
  // Each write takes longer than a fill waits between two looks, and pages come in one by one.
  store->elsewhere = true;
  store->SetOnWrite([] { Nap(2); });
  auto memory = std::make_unique<FaultyMemory>(options.size_bytes, store.get());
  const uint32_t stag = test.appliance.Use(options, std::move(store), std::move(memory));
  test.WarmUp();
  const uint64_t faulted = test.Faulted();
  const uint64_t reads = test.reads;
  for (PageIndex page = 0; page < kWrittenPages; page++) {
    REQUIRE(test.WriteOne(stag, page) == Code::kOk);
    if (page % 3 == 0) test.ReadOne();
  }
  CHECK(test.Faulted() - faulted <= (test.reads - reads) / 20);
  CHECK(test.appliance.region->fills.written_back_pages.load() > kWrittenPages / 2);
  test.appliance.RemoveRegion();
}

// A tier that is full: a code for the writer, and none for readers; after a sync there is room.
FARPAGE_TEST(pressure_without_room_ends_in_a_code_and_goes_on_with_room) {
  Pressed test;
  test.appliance.UseTiers(16, kFrames);
  const std::string path = test.appliance.folder.File("data");
  { std::ofstream(path) << std::string(kWrittenPages << kPageShift, 'x'); }
  const uint32_t stag = test.appliance.OpenFile(path, true);
  PageIndex page = 0;
  for (int full = 0; full < 2; full++) {
    test.WarmUp();
    Code code = Code::kOk;
    const PageIndex begun = page;
    while (code == Code::kOk && page < kWrittenPages) code = test.WriteOne(stag, page++);
    CHECK_EQ(int(code), int(Code::kNoSpace));
    CHECK(page - begun > kFrames);
    test.writer = test.appliance.Connect();
    const uint64_t faulted = test.Faulted();
    for (PageIndex n = 0; n < kHotPages; n++) test.ReadOne();
    CHECK(test.Faulted() - faulted <= kHotPages / 20);
    // Who only reads gets pages of that region, too.
    for (PageIndex cold = kWrittenPages - 64; cold < kWrittenPages; cold++) {
      uint64_t value = 0;
      const auto done = Read(*test.writer, stag, cold << kPageShift, &value, sizeof value);
      CHECK_EQ(int(done.code), int(Code::kOk));
      CHECK_EQ(value, 0x7878787878787878u);
    }
    page--;
    REQUIRE(test.appliance.Sync().ok());
    CHECK_EQ(test.appliance.region->table->dirty(), 0u);
    CHECK_EQ(test.appliance.region->table->elsewhere(), 0u);
  }
}

}  // namespace farpage::test
