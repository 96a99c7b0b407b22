// Prefetch, and pulls of copies: what they bring, what they keep, and whom they leave alone.
#include <condition_variable>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "check.h"
#include "quiet.h"
#include "remote_fixture.h"
#include "stores/kept_store.h"

namespace farpage::test {
namespace {

// Begins a prefetch and waits for its end.
class Running {
 public:
  Running(Appliance& appliance, PageRun run) : appliance_(appliance) {
    prefetch = appliance.pager.prefetcher().Begin(appliance.region, run,
                                                  [this](const PrefetchReport& report) {
                                                    const std::lock_guard lock(mutex_);
                                                    report_ = report;
                                                    ended_ = true;
                                                    wake_.notify_all();
                                                  });
  }
  PrefetchReport Await() {
    std::unique_lock lock(mutex_);
    CHECK(wake_.wait_for(lock, std::chrono::seconds(30), [this] { return ended_; }));
    return report_;
  }
  std::shared_ptr<Prefetch> prefetch;

 private:
  Appliance& appliance_;
  std::mutex mutex_;
  std::condition_variable wake_;
  PrefetchReport report_;
  bool ended_ = false;
};

Code CodeOf(const PrefetchReport& report) {
  return report.outcome.ok() ? Code::kOk : report.outcome.error().code;
}

// A kept copy of a source; `kept` outlives the appliance.
struct KeptCopy {
  KeptCopy(Source* from, const std::string& path, bool make, const ApplianceOptions& options = {},
           uint64_t deadline_ns = 5'000'000'000)
      : appliance(options) {
    std::unique_ptr<PageStore> base;
    if (from != nullptr) {
      RemoteStoreOptions remote;
      remote.length_bytes = kSourceBytes;
      remote.deadline_ns = deadline_ns;
      remote.need_door = [this, from] {
        if (away) {
          store->Refuse({Code::kConnection, 0, "away"});
        } else {
          store->Open(from->Door());
        }
      };
      auto owned = std::make_unique<RemoteStore>(std::move(remote));
      store = owned.get();
      base = std::move(owned);
    }
    auto opened = KeptStore::Open(path, kSourceBytes, make, std::move(base));
    if (!opened.ok()) std::abort();
    kept = opened.value().get();
    auto memory = StagedMemory::Create(kSourceBytes, kept);
    if (!memory.ok()) std::abort();
    Region::Options region;
    region.size_bytes = kSourceBytes;
    region.writable = true;
    region.write_behind = true;
    stag = appliance.Use(region, std::move(opened).value(), std::move(memory).value());
  }
  PrefetchReport Pull() {
    return Running(appliance, {0, kSourcePages}).Await();
  }
  [[nodiscard]] uint64_t needed() const {
    return Prefetcher::NeededPages(*appliance.region, {0, kSourcePages});
  }
  std::atomic<bool> away{false};
  RemoteStore* store = nullptr;
  KeptStore* kept = nullptr;
  Appliance appliance;
  uint32_t stag = 0;
};

std::vector<std::byte> SourceBytes() {
  std::vector<std::byte> bytes(kSourceBytes);
  for (uint64_t at = 0; at < kSourceBytes; at++) bytes[at] = SourceByte(at);
  return bytes;
}

// Every byte of the region as a client reads it.
std::vector<std::byte> ReadAll(Appliance& appliance, uint32_t stag) {
  auto reader = appliance.Connect();
  std::vector<std::byte> bytes(kSourceBytes);
  for (uint64_t at = 0; at < kSourceBytes; at += 100'000) {
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(100'000, kSourceBytes - at));
    CHECK_EQ(int(Read(*reader, stag, at, bytes.data() + at, length).code), 0);
  }
  return bytes;
}

ApplianceOptions Frames(uint64_t frames) {
  ApplianceOptions options;
  options.frames_max = frames;
  options.read_ahead_pages = 0;
  options.window_bytes = kPageBytes;
  return options;
}

}  // namespace

// The range becomes present and nothing else; who reads it then meets no absent page.
FARPAGE_TEST(prefetch_brings_a_range_of_a_file) {
  Source file;
  Appliance& appliance = file.appliance;
  const PrefetchReport report = Running(appliance, {100, 300}).Await();
  CHECK(report.outcome.ok());
  CHECK(!report.full);
  CHECK_EQ(report.pages, 300u);
  CHECK_EQ(report.passed_pages, 300u);
  CHECK_EQ(report.filled_pages, 300u);
  CHECK_EQ(appliance.region->table->present(), 300u);
  for (PageIndex page = 100; page < 400; page++) {
    const PageWord word = appliance.region->table->Load(page);
    CHECK_EQ(int(StateOf(word)), int(PageState::kPresent));
    CHECK_EQ(word & (kAccessed | kDirty | kHeld), 0u);
  }
  // What is here already is left alone.
  CHECK_EQ(Running(appliance, {0, kSourcePages}).Await().filled_pages, kSourcePages - 300);
  CHECK(ReadAll(appliance, file.stag) == SourceBytes());
  CheckQuiet(appliance);
}

// Plain memory of any fill value too; a range of no page and one beyond the end are nothing.
FARPAGE_TEST(prefetch_fills_plain_memory) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(256 << kPageShift, FillValueStore::Value::kOne);
  CHECK_EQ(Running(appliance, {7, 0}).Await().filled_pages, 0u);
  CHECK_EQ(Running(appliance, {200, 500}).Await().filled_pages, 56u);
  CHECK_EQ(Running(appliance, {0, 256}).Await().filled_pages, 200u);
  auto reader = appliance.Connect();
  std::byte byte{};
  CHECK_EQ(int(Read(*reader, stag, 9999, &byte, 1).code), 0);
  CHECK_EQ(int(byte), 0xff);
  CheckQuiet(appliance);
}

// It takes what is free, says that it stopped there, and pushes nobody out.
FARPAGE_TEST(prefetch_stops_where_memory_is_full) {
  FaultyAppliance faulty({.pages = 600, .frames = 128});
  Appliance& appliance = faulty.appliance;
  auto reader = appliance.Connect();
  std::byte byte{};
  for (PageIndex page = 500; page < 550; page++) {
    CHECK_EQ(int(Read(*reader, faulty.stag, page << kPageShift, &byte, 1).code), 0);
  }
  const PrefetchReport report = Running(appliance, {0, 600}).Await();
  CHECK(report.outcome.ok());
  CHECK(report.full);
  CHECK_EQ(report.filled_pages, LowMark(128) - 50);
  CHECK_EQ(appliance.pager.evicted_pages(), 0u);
  for (PageIndex page = 500; page < 550; page++) {
    CHECK_EQ(int(StateOf(appliance.region->table->Load(page))), int(PageState::kPresent));
  }
  CheckQuiet(appliance);
}

// A page that cannot be read ends it with the reason; its neighbours came.
FARPAGE_TEST(prefetch_tells_what_cannot_be_read) {
  FaultyAppliance faulty({.pages = 64});
  faulty.plan.Arm(kFaultyRead, 1, EIO);
  const PrefetchReport report = Running(faulty.appliance, {0, 64}).Await();
  CHECK_EQ(int(CodeOf(report)), int(Code::kIo));
  CHECK(Running(faulty.appliance, {0, 64}).Await().outcome.ok());
  CheckQuiet(faulty.appliance);
}

// A pull through memory a tenth as large ends with every page in the kept file, and the source is
// needed no longer: neither now nor after a restart.
FARPAGE_TEST(pull_keeps_every_page_and_lets_the_source_go) {
  for (const uint64_t frames : {uint64_t{4}, uint64_t{60}, uint64_t{1} << 20}) {
    Source source;
    const TemporaryFolder folder;
    const std::string path = folder.File("kept");
    std::vector<std::byte> expected = SourceBytes();
    {
      KeptCopy copy(&source, path, true, Frames(frames));
      auto user = copy.appliance.Connect();
      for (const PageIndex page : {PageIndex{3}, PageIndex{77}}) {
        const std::byte mark{0xee};
        const uint64_t at = (page << kPageShift) + 9;
        CHECK_EQ(int(Write(*user, copy.stag, at, &mark, 1).code), 0);
        expected[at] = mark;
      }
      // Clean pages that came from the source before are nowhere else yet.
      std::byte byte{};
      CHECK_EQ(int(Read(*user, copy.stag, 50 << kPageShift, &byte, 1).code), 0);
      CHECK_EQ(copy.needed(), kSourcePages);
      const PrefetchReport report = copy.Pull();
      CHECK_EQ(int(CodeOf(report)), 0);
      CHECK_EQ(report.passed_pages, kSourcePages);
      CHECK_EQ(copy.needed(), 0u);
      CHECK_EQ(copy.kept->KeptPages({0, kSourcePages}), kSourcePages);
      CHECK_EQ(copy.appliance.region->table->dirty(), 0u);
      copy.kept->DetachSource();
      source.GoAway();
      copy.away = true;
      CHECK(ReadAll(copy.appliance, copy.stag) == expected);
      CheckQuiet(copy.appliance);
    }
    KeptCopy again(nullptr, path, false);
    CHECK(ReadAll(again.appliance, again.stag) == expected);
  }
}

// Writers, syncs and evictions beside pulls: no byte that was written is replaced by the source's.
FARPAGE_TEST(pull_never_overwrites_what_was_written) {
  Source source;
  const TemporaryFolder folder;
  KeptCopy copy(&source, folder.File("kept"), true, Frames(64));
  std::vector<std::byte> expected = SourceBytes();
  std::atomic<bool> over{false};
  std::thread writer([&] {
    std::mt19937 random(5);
    auto user = copy.appliance.Connect();
    for (int n = 0; n < 4000 && !over; n++) {
      const uint64_t at = random() % kSourceBytes;
      const auto value = static_cast<std::byte>(random());
      const Code code = Write(*user, copy.stag, at, &value, 1).code;
      CHECK_EQ(int(code), 0);
      if (code == Code::kOk) expected[at] = value;
      if (n % 64 == 0) CHECK(copy.appliance.Sync(n % 128 == 0).ok());
      if (n % 100 == 0) copy.appliance.pager.Reclaim(copy.appliance.region, {0, kSourcePages});
    }
  });
  PrefetchReport report = copy.Pull();
  CHECK_EQ(int(CodeOf(report)), 0);
  CHECK_EQ(copy.needed(), 0u);
  over = true;
  writer.join();
  CHECK(copy.appliance.Sync().ok());
  copy.kept->DetachSource();
  CHECK(ReadAll(copy.appliance, copy.stag) == expected);
  CheckQuiet(copy.appliance);
}

// A source that goes in the middle ends the pull with its code; what came is here, and another
// pull brings the rest.
FARPAGE_TEST(pull_goes_on_when_its_source_is_back) {
  Source source;
  const TemporaryFolder folder;
  KeptCopy copy(&source, folder.File("kept"), true, {}, 300'000'000);
  CHECK(Running(copy.appliance, {0, 200}).Await().outcome.ok());
  CHECK_EQ(copy.needed(), kSourcePages - 200);
  copy.away = true;
  source.GoAway();
  const PrefetchReport failed = copy.Pull();
  CHECK_EQ(int(CodeOf(failed)), int(Code::kSourceAway));
  CHECK_EQ(failed.passed_pages, 200u);
  CHECK_EQ(copy.needed(), kSourcePages - 200);
  CHECK_EQ(copy.appliance.region->table->present(), 200u);
  source.Return();
  copy.away = false;
  const PrefetchReport rest = copy.Pull();
  CHECK_EQ(int(CodeOf(rest)), 0);
  CHECK_EQ(rest.filled_pages, kSourcePages - 200);
  CHECK_EQ(copy.needed(), 0u);
  CheckQuiet(copy.appliance);
}

// Removal of the region and a cancel end a pull that waits for a silent source, at once.
FARPAGE_TEST(pull_ends_with_its_region_or_a_cancel) {
  for (const bool remove : {false, true}) {
    const TemporaryFolder folder;
    RemoteStoreOptions remote;
    remote.length_bytes = kSourceBytes;
    remote.deadline_ns = 120'000'000'000;
    std::atomic<int> asked{0};
    remote.need_door = [&] { asked++; };
    auto kept = KeptStore::Open(folder.File("kept"), kSourceBytes, true,
                                std::make_unique<RemoteStore>(std::move(remote)));
    CHECK(kept.ok());
    Appliance appliance;
    appliance.OpenStaged(kSourceBytes, std::move(kept).value());
    Running running(appliance, {0, kSourcePages});
    while (asked == 0) Nap(1);
    if (remove) {
      appliance.RemoveRegion();
    } else {
      appliance.pager.prefetcher().Cancel(*running.prefetch);
    }
    const PrefetchReport report = running.Await();
    CHECK_EQ(report.filled_pages, 0u);
    CHECK_EQ(int(CodeOf(report)), int(remove ? Code::kRegionRemoved : Code::kAborted));
    if (!remove) CheckQuiet(appliance);
  }
}

namespace {

// A store that keeps what is written over a source that answers at once, with writes that fail.
class FaultyKept final : public PageStore {
 public:
  FaultyKept(uint64_t bytes, FaultPlan* plan) : file_(bytes, plan) {}
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    const std::lock_guard lock(mutex_);
    return {kept_.contains(run.first) ? PageOrigin::kKept : PageOrigin::kRemote, 1};
  }
  [[nodiscard]] bool keeps_what_it_pulls() const override { return true; }
  Status Read(PageRun run, std::byte* into) override { return file_.Read(run, into); }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override {
    std::memset(into, 7, run.length_bytes());
    done({});
  }
  Status Write(std::span<PageImage> images) override {
    if (full) {
      for (PageImage& image : images) image.outcome = SystemError("write", ENOSPC);
      return {};
    }
    const Status written = file_.Write(images);
    const std::lock_guard lock(mutex_);
    for (const PageImage& image : images) {
      if (!image.outcome.ok()) continue;
      for (PageIndex page = image.run.first; page < image.run.end(); page++) kept_.insert(page);
    }
    return written;
  }
  Status MakeDurable() override { return file_.MakeDurable(); }

  std::atomic<bool> full{false};

 private:
  FaultyStore file_;
  mutable std::mutex mutex_;
  std::set<PageIndex> kept_;
};

}  // namespace

// No space, in a write or in the sync: the pull ends with the code, no page is lost, and it is
// done once there is space.
FARPAGE_TEST(pull_meets_a_full_device_and_goes_on_later) {
  constexpr uint64_t kBytes = 64 * 4096;
  for (const uint32_t call : {kFaultyWrite, kFaultySync}) {
    FaultPlan plan;
    Appliance appliance;
    auto owned = std::make_unique<FaultyKept>(kBytes, &plan);
    FaultyKept& store = *owned;
    appliance.OpenStaged(kBytes, std::move(owned));
    const uint64_t pages = appliance.region->table->pages();
    store.full = call == kFaultyWrite;
    if (call == kFaultySync) plan.Arm(call, 1, ENOSPC);
    CHECK_EQ(int(CodeOf(Running(appliance, {0, pages}).Await())), int(Code::kNoSpace));
    CHECK_EQ(appliance.region->table->dirty(), pages);
    store.full = false;
    CHECK(Running(appliance, {0, pages}).Await().outcome.ok());
    CHECK_EQ(appliance.region->table->dirty(), 0u);
    CHECK_EQ(Prefetcher::NeededPages(*appliance.region, {0, pages}), 0u);
    CheckQuiet(appliance);
  }
}

// Somebody's faults come first: while they go on a pull makes small steps, but it makes them.
FARPAGE_TEST(pull_yields_to_faults_and_still_ends) {
  Source source;
  const TemporaryFolder folder;
  KeptCopy copy(&source, folder.File("kept"), true, Frames(1u << 20));
  std::atomic<bool> over{false};
  std::thread reader([&] {
    auto user = copy.appliance.Connect();
    std::mt19937 random(9);
    while (!over) {
      std::byte byte{};
      const uint64_t at = random() % kSourceBytes;
      CHECK_EQ(int(Read(*user, copy.stag, at, &byte, 1).code), 0);
      CHECK_EQ(int(byte), int(SourceByte(at)));
      // Gone again, so that there is always somebody who waits.
      copy.appliance.pager.Reclaim(copy.appliance.region, {at >> kPageShift, 1});
    }
  });
  CHECK_EQ(int(CodeOf(copy.Pull())), 0);
  over = true;
  reader.join();
  CHECK_EQ(copy.needed(), 0u);
  CheckQuiet(copy.appliance);
}

}  // namespace farpage::test
