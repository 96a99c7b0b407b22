// Where the pages of a region are from: told run by run, for what there is.
#include <fstream>

#include "appliance_fixture.h"
#include "check.h"
#include "elsewhere.h"
#include "memory/memory_files.h"
#include "pager/provenance.h"
#include "stores/kept_store.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 16;
const uint64_t kSize = kPages << kPageShift;

ProvenanceList Ask(Appliance& appliance, const ProvenanceQuestion& asked) {
  return TellProvenance(*appliance.region, appliance.pager.evictor(), asked);
}

char Letter(const ProvenanceRun& run) {
  static constexpr std::string_view kLetters = ".ZFEKWB!";
  return kLetters[static_cast<size_t>(run.state)];
}

// A letter a page; a small one where the page is in neither memory nor a tier, and `t` for a tier.
std::string Told(Appliance& appliance, bool copy = false) {
  const ProvenanceList list = Ask(appliance, {{0, appliance.region->table->pages()}, 4096, copy});
  CHECK_EQ(list.next, appliance.region->table->pages());
  std::string told;
  for (const ProvenanceRun& run : list.runs) {
    CHECK_EQ(run.run.first, told.size());
    const char letter = Letter(run);
    char shown = letter;
    if (run.place == PagePlace::kTier) shown = 't';
    if (run.place == PagePlace::kNone) shown = static_cast<char>(tolower(letter));
    told.append(run.run.count, shown);
  }
  return told;
}

void Touch(Appliance& appliance, uint32_t stag, std::initializer_list<PageIndex> pages) {
  auto reader = appliance.Connect();
  std::byte byte;
  for (const PageIndex page : pages) {
    CHECK_EQ(int(Read(*reader, stag, page << kPageShift, &byte, 1).code), 0);
  }
}

void Put(Appliance& appliance, uint32_t stag, std::initializer_list<PageIndex> pages) {
  auto writer = appliance.Connect();
  for (const PageIndex page : pages) {
    CHECK_EQ(int(Write(*writer, stag, page << kPageShift, "new", 3).code), 0);
  }
}

ApplianceOptions NoReadAhead() {
  ApplianceOptions options;
  options.read_ahead_pages = 0;
  options.window_bytes = kPageBytes;
  return options;
}

std::unique_ptr<KeptStore> Keep(const std::string& path, std::unique_ptr<PageStore> base) {
  auto kept = KeptStore::Open(path, kSize, true, std::move(base));
  if (!kept.ok()) std::abort();
  return std::move(kept).value();
}

// Pulls pages and waits until the kept file has them.
void Pull(Appliance& appliance, PageRun run) {
  std::atomic<bool> ended{false};
  appliance.pager.prefetcher().Begin(appliance.region, run, [&](const PrefetchReport& report) {
    CHECK(report.outcome.ok());
    ended = true;
  });
  const uint64_t deadline = NowNs() + 30'000'000'000;
  while (!ended && NowNs() < deadline) ::usleep(1000);
  CHECK(ended);
}

}  // namespace

FARPAGE_TEST(provenance_of_a_mapped_file_follows_reads_writes_syncs_and_evictions) {
  Appliance appliance(NoReadAhead());
  const std::string path = appliance.folder.File("data");
  { std::ofstream(path) << std::string(kSize, 'x'); }
  const uint32_t stag = appliance.OpenFile(path, true);
  CHECK_EQ(Told(appliance), "................");
  Touch(appliance, stag, {1, 2, 3});
  Put(appliance, stag, {3, 5, 6});
  CHECK_EQ(Told(appliance), ".FFW.WW.........");
  CHECK(appliance.Sync({3, 3}, true).ok());
  CHECK_EQ(Told(appliance), ".FFB.BW.........");
  // What was evicted is where it came from, but for what was written there.
  appliance.pager.Reclaim(appliance.region, {0, kPages});
  CHECK_EQ(Told(appliance), "...b.bW.........");
  Put(appliance, stag, {5});
  // What was given up was never written, unless the file was given an earlier version.
  appliance.pager.indicators().Invalidate(appliance.region, {0, kPages}, DirtyRule::kDiscard);
  CHECK_EQ(Told(appliance), "...b.b..........");
}

FARPAGE_TEST(provenance_costs_what_was_touched_and_not_what_there_could_be) {
  Appliance appliance(NoReadAhead());
  const uint32_t stag = appliance.OpenAnonymous(kSparseBytes, FillValueStore::Value::kOne);
  const uint64_t pages = appliance.region->table->pages();
  // More words than one answer may look at: it is whole only because it does not.
  CHECK(pages > kProvenanceCostMax);
  Touch(appliance, stag, {pages / 2, pages - 1});
  const ProvenanceList list = Ask(appliance, {{0, pages}});
  CHECK_EQ(list.next, pages);
  CHECK_EQ(list.runs.size(), 4u);
  const std::string states = ".Z.Z";
  for (size_t n = 0; n < list.runs.size(); n++) {
    CHECK_EQ(Letter(list.runs[n]), states[n]);
    CHECK(list.runs[n].origin == PageOrigin::kFill);
  }
  CHECK_EQ(list.runs[1].run.first, pages / 2);
  CHECK_EQ(list.runs[2].run.count, pages / 2 - 2);
}

FARPAGE_TEST(provenance_goes_on_where_an_answer_ended) {
  Appliance appliance(NoReadAhead());
  const uint32_t stag = appliance.OpenAnonymous(kSize, FillValueStore::Value::kZero);
  Put(appliance, stag, {1, 3, 5, 7});
  std::string told;
  size_t answers = 0;
  for (PageIndex next = 0; next < kPages; answers++) {
    const ProvenanceList list = Ask(appliance, {{next, kPages - next}, 2});
    REQUIRE(list.next > next);
    CHECK(list.runs.size() <= 2);
    for (const ProvenanceRun& run : list.runs) {
      CHECK_EQ(run.run.first, told.size());
      told.append(run.run.count, Letter(run));
    }
    next = list.next;
  }
  CHECK_EQ(told, ".W.W.W.W........");
  CHECK_EQ(answers, 5u);
  CHECK(Ask(appliance, {{4, 0}}).runs.empty());
}

FARPAGE_TEST(provenance_of_a_kept_region_tells_what_an_earlier_life_has_written) {
  const TemporaryFolder folder;
  {
    Appliance appliance(NoReadAhead());
    const uint32_t stag = appliance.OpenStaged(
        kSize, Keep(folder.File("kept"),
                    std::make_unique<FillValueStore>(FillValueStore::Value::kOne)));
    Touch(appliance, stag, {0});
    Put(appliance, stag, {2, 3, 9});
    CHECK(appliance.Sync({2, 2}, true).ok());
    CHECK_EQ(Told(appliance), "Z.BB.....W......");
  }
  Appliance appliance(NoReadAhead());
  const uint32_t stag = appliance.OpenStaged(
      kSize,
      Keep(folder.File("kept"), std::make_unique<FillValueStore>(FillValueStore::Value::kOne)));
  CHECK_EQ(Told(appliance), "..bb............");
  Touch(appliance, stag, {2, 4});
  CHECK_EQ(Told(appliance), "..BbZ...........");
}

FARPAGE_TEST(provenance_of_a_copy_tells_pulled_from_written_until_it_restarts) {
  const TemporaryFolder folder;
  {
    Appliance appliance(NoReadAhead());
    const uint32_t stag = appliance.OpenStaged(
        kSize, Keep(folder.File("kept"), std::make_unique<Elsewhere>()));
    Touch(appliance, stag, {0});
    Pull(appliance, {4, 4});
    Put(appliance, stag, {5, 10});
    CHECK_EQ(Told(appliance, true), "E...EWEE..W.....");
    CHECK(appliance.Sync().ok());
    appliance.pager.Reclaim(appliance.region, {0, kPages});
    CHECK_EQ(Told(appliance, true), "....ebee..b.....");
    Pull(appliance, {0, kPages});
    appliance.region->store->DetachSource();
    appliance.pager.Reclaim(appliance.region, {0, kPages});
    CHECK_EQ(Told(appliance, true), "eeeeebeeeebeeeee");
  }
  Appliance appliance(NoReadAhead());
  const uint32_t stag =
      appliance.OpenStaged(kSize, Keep(folder.File("kept"), nullptr));
  Put(appliance, stag, {1});
  Touch(appliance, stag, {2});
  CHECK_EQ(Told(appliance, true), "kWKkkkkkkkkkkkkk");
}

FARPAGE_TEST(provenance_finds_pages_in_a_tier) {
  Appliance appliance(NoReadAhead());
  appliance.UseTiers(64, 64);
  const uint32_t stag = appliance.OpenAnonymous(kSize, FillValueStore::Value::kZero);
  Put(appliance, stag, {1, 2});
  appliance.pager.Demote(appliance.region, {2, 1});
  const ProvenanceList list = Ask(appliance, {{0, kPages}});
  CHECK_EQ(Told(appliance), ".Wt.............");
  CHECK(list.runs[2].state == Provenance::kUnsaved);
}

FARPAGE_TEST(provenance_outlives_the_process_with_its_memory) {
  const TemporaryFolder folder;
  const std::string path = folder.File("data");
  { std::ofstream(path) << std::string(kSize, 'x'); }
  const auto open = [&](Appliance& appliance) {
    auto store = FileStore::Open({path, 0, 0, true});
    if (!store.ok()) std::abort();
    auto files = MemoryFiles::Open({folder.File("."), "0123456789abcdef0123456789abcdef", "boot",
                                    kSize, store.value()->Identity()});
    if (!files.ok() || !files.value()->Adopt(true).ok()) std::abort();
    auto memory = StagedMemory::Over(files.value()->TakeMemory(), kSize, store.value().get());
    auto table = PageTable::Over(std::move(files).value(), kPages);
    Region::Options options;
    options.size_bytes = kSize;
    options.writable = true;
    return appliance.Use(options, std::move(store).value(), std::move(memory).value(),
                         std::move(table).value());
  };
  {
    Appliance appliance(NoReadAhead());
    const uint32_t stag = open(appliance);
    Touch(appliance, stag, {0});
    Put(appliance, stag, {1, 2});
    CHECK(appliance.Sync().ok());
    appliance.pager.Reclaim(appliance.region, {2, 1});
    Put(appliance, stag, {3});
    CHECK_EQ(Told(appliance), "FBbW............");
  }
  Appliance appliance(NoReadAhead());
  open(appliance);
  CHECK_EQ(Told(appliance), "FBbW............");
}

}  // namespace farpage::test
