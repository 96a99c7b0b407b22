// A page that is written as a whole needs nothing of where it is: nothing is read for one that is
// absent, and one whose newest bytes were lost is well again.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <tuple>

#include "appliance_fixture.h"
#include "check.h"
#include "memory/memory_files.h"
#include "pager/page_change.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 16;
const auto kPage = static_cast<uint32_t>(kPageBytes);

std::string MakeFile(Appliance& appliance, uint64_t bytes) {
  const std::string path = appliance.folder.File("data");
  std::ofstream(path, std::ios::binary) << std::string(bytes, 'a');
  return path;
}

std::string BytesOf(const std::string& path, uint64_t offset, size_t bytes) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  std::string found(bytes, '\0');
  file.read(found.data(), static_cast<std::streamsize>(bytes));
  return found;
}

PageState StateAt(Appliance& appliance, PageIndex page) {
  return StateOf(appliance.region->table->Load(page));
}

// Makes a page dirty and loses it, as an I/O error or a conflict does.
void Lose(Appliance& appliance, uint32_t stag, PageIndex page) {
  auto writer = appliance.Connect();
  CHECK_EQ(int(Write(*writer, stag, page << kPageShift, "lost", 4).code), int(Code::kOk));
  writer.reset();
  Region& region = *appliance.region;
  ChangePage(*region.table, page, [](PageWord word) {
    return WithState(word & ~(kReadable | kWritable | kHeld), PageState::kLost);
  });
  appliance.pager.shootdown().WaitGracePeriod();
  const PageRun run{page, 1};
  region.memory->Drop({&run, 1});
  Filler::ReturnFrames(region, const_cast<FrameBudget&>(appliance.pager.budget()), 1);
}

Code Put(Appliance& appliance, uint32_t stag, uint64_t offset, const std::string& bytes) {
  auto writer = appliance.Connect();
  return Write(*writer, stag, offset, bytes.data(), static_cast<uint32_t>(bytes.size())).code;
}

std::string Get(Appliance& appliance, uint32_t stag, uint64_t offset, uint32_t bytes) {
  auto reader = appliance.Connect();
  std::string found(bytes, '\0');
  const Code code = Read(*reader, stag, offset, found.data(), bytes).code;
  return code == Code::kOk ? found : CodeName(code);
}

// One segment of a WRITE, as it stands on the wire.
void Say(Initiator& peer, uint32_t stag, uint64_t offset, const std::string& payload, bool last) {
  const auto bytes = static_cast<uint32_t>(payload.size());
  std::vector<std::byte> fpdu(FpduBytes(kDdpTaggedBytes + bytes));
  EncodeTagged(fpdu.data(), RdmapOpcode::kWrite, last, bytes, stag, offset);
  std::memcpy(fpdu.data() + kTaggedHeaderBytes, payload.data(), bytes);
  SealFpdu(fpdu.data(), false);
  CHECK_EQ(::send(peer.socket(), fpdu.data(), fpdu.size(), MSG_NOSIGNAL), ssize_t(fpdu.size()));
}

// Waits until the appliance has dealt with all that a peer has said: it says no more, and is gone.
void HangUp(std::unique_ptr<Initiator> peer) {
  ::shutdown(peer->socket(), SHUT_WR);
  const uint64_t deadline = NowNs() + 10'000'000'000;
  std::array<char, 512> rest;
  for (ssize_t got = 1; got != 0 && NowNs() < deadline;) {
    pollfd ready{peer->socket(), POLLIN, 0};
    ::poll(&ready, 1, 1000);
    got = ::recv(peer->socket(), rest.data(), rest.size(), MSG_DONTWAIT);
    if (got < 0 && errno != EAGAIN && errno != EINTR) return;  // reset
  }
  CHECK(NowNs() < deadline);
}

}  // namespace

FARPAGE_TEST(whole_page_heals_a_lost_page_and_part_of_one_does_not) {
  for (const bool mapped : {true, false}) {
    Appliance appliance;
    const std::string path = MakeFile(appliance, (kPages << kPageShift) - 100);
    const uint32_t stag =
        mapped ? appliance.OpenFile(path, true)
               : appliance.OpenStaged((kPages << kPageShift) - 100,
                                      std::move(FileStore::Open({path, 0, 0, true})).value());
    for (const PageIndex page : {PageIndex{3}, kPages - 1}) Lose(appliance, stag, page);
    CHECK_EQ(appliance.region->table->lost(), 2u);
    const uint64_t at = 3 << kPageShift;
    for (const auto& [offset, bytes] : {std::pair{at, kPage - 1}, {at + 1, kPage - 1},
                                        {at - 10, kPage}, {at + kPage - 1, kPage}, {at, 1u}}) {
      CHECK_EQ(int(Put(appliance, stag, offset, std::string(bytes, 'p'))), int(Code::kPageLost));
      CHECK(StateAt(appliance, 3) == PageState::kLost);
      CHECK_EQ(Get(appliance, stag, at, 4), "ERR_PAGE_LOST");
    }
    CHECK_EQ(int(appliance.Sync().error().code), int(Code::kPageLost));
    CHECK_EQ(int(Put(appliance, stag, at, std::string(kPage, 'n'))), int(Code::kOk));
    CHECK_EQ(Get(appliance, stag, at, kPage), std::string(kPage, 'n'));
    // The last page is as long as its region.
    const uint64_t last = (kPages - 1) << kPageShift;
    CHECK_EQ(int(Put(appliance, stag, last, std::string(kPage - 101, 'p'))), int(Code::kPageLost));
    CHECK_EQ(int(Put(appliance, stag, last, std::string(kPage - 100, 'z'))), int(Code::kOk));
    CHECK_EQ(appliance.region->table->lost(), 0u);
    CHECK_EQ(appliance.region->table->dirty(), 2u);  // the neighbours were synced on the way
    CHECK(appliance.Sync().ok());
    CHECK_EQ(BytesOf(path, at, kPage), std::string(kPage, 'n'));
    CHECK_EQ(BytesOf(path, last, kPage - 100), std::string(kPage - 100, 'z'));
    CHECK_EQ(BytesOf(path, at - 11, 11), "a" + std::string(10, 'p'));
  }
}

FARPAGE_TEST(whole_page_within_a_long_write_is_healed_on_the_way) {
  Appliance appliance;
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  for (const PageIndex page : {2, 3, 9}) Lose(appliance, stag, page);
  std::string bytes((kPages << kPageShift) - 20, '\0');
  for (size_t at = 0; at < bytes.size(); at++) bytes[at] = static_cast<char>(at * 7 / 5);
  CHECK_EQ(int(Put(appliance, stag, 10, bytes)), int(Code::kOk));
  CHECK_EQ(appliance.region->table->lost(), 0u);
  CHECK(Get(appliance, stag, 10, static_cast<uint32_t>(bytes.size())) == bytes);
}

// A standard peer's segments are shorter than a page.
FARPAGE_TEST(whole_page_may_come_in_segments_of_one_write) {
  Appliance appliance;
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  const uint64_t at = 5 << kPageShift;
  const std::string part(1024, 's');
  const auto say = [&](Initiator& peer, uint64_t from, uint64_t to) {
    for (uint64_t n = from; n < to; n++) Say(peer, stag, at + n * 1024, part, n == 3);
  };
  Lose(appliance, stag, 5);
  {
    auto peer = appliance.Connect();
    say(*peer, 0, 3);
    HangUp(std::move(peer));
  }
  CHECK_EQ(Get(appliance, stag, at, 4), "ERR_PAGE_LOST");
  {
    auto peer = appliance.Connect();  // the third is not where the second ended
    say(*peer, 0, 2);
    say(*peer, 3, 4);
    HangUp(std::move(peer));
  }
  {
    auto peer = appliance.Connect();  // four messages, none of them the whole page
    for (uint64_t n = 0; n < 4; n++) Say(*peer, stag, at + n * 1024, part, true);
    HangUp(std::move(peer));
  }
  CHECK_EQ(Get(appliance, stag, at, 4), "ERR_PAGE_LOST");
  auto peer = appliance.Connect();
  say(*peer, 0, 4);
  HangUp(std::move(peer));
  CHECK_EQ(Get(appliance, stag, at, kPage), std::string(kPage, 's'));
}

FARPAGE_TEST(whole_page_of_a_file_that_is_too_short_stays_lost_until_it_is_long_enough) {
  Appliance appliance;
  const std::string path = MakeFile(appliance, kPages << kPageShift);
  const uint32_t stag = appliance.OpenFile(path, true);
  const uint64_t at = 12 << kPageShift;
  CHECK_EQ(int(Put(appliance, stag, at, "new")), int(Code::kOk));
  CHECK_EQ(::truncate(path.c_str(), 4 << kPageShift), 0);
  CHECK_EQ(int(appliance.Sync().error().code), int(Code::kFileChanged));
  CHECK(StateAt(appliance, 12) == PageState::kLost);
  const std::string whole(kPage, 'w');
  CHECK_EQ(int(Put(appliance, stag, at, whole)), int(Code::kFileChanged));
  CHECK(StateAt(appliance, 12) == PageState::kLost);
  CHECK_EQ(appliance.region->frames.used(), 0u);
  CHECK_EQ(::truncate(path.c_str(), kPages << kPageShift), 0);
  CHECK_EQ(int(appliance.Sync().error().code), int(Code::kPageLost));
  CHECK_EQ(int(Put(appliance, stag, at, whole)), int(Code::kOk));
  CHECK(appliance.Sync().ok());
  CHECK_EQ(BytesOf(path, at, kPage), whole);
  CHECK_EQ(appliance.region->frames.used(), appliance.region->table->present());
  CHECK_EQ(appliance.pager.budget().used(), appliance.region->table->present());
}

FARPAGE_TEST(whole_page_is_part_of_the_next_atomic_sync) {
  Appliance appliance;
  const std::string path = MakeFile(appliance, kPages << kPageShift);
  const uint32_t stag = appliance.OpenAtomicFile(path);
  CHECK_EQ(int(Put(appliance, stag, 0, "one")), int(Code::kOk));
  CHECK(appliance.Sync().ok());
  Lose(appliance, stag, 6);
  CHECK_EQ(int(appliance.Sync().error().code), int(Code::kPageLost));
  CHECK_EQ(int(Put(appliance, stag, 6 << kPageShift, std::string(kPage, 'h'))), int(Code::kOk));
  auto synced = appliance.Sync();
  REQUIRE(synced.ok());
  CHECK_EQ(synced.value().pages_written, 1u);
  CHECK_EQ(BytesOf(path, 6 << kPageShift, kPage), std::string(kPage, 'h'));
}

FARPAGE_TEST(whole_page_that_its_permission_forbids_is_not_written) {
  Appliance appliance;
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  Lose(appliance, stag, 1);
  CHECK(appliance.pager.indicators().Protect(*appliance.region, {1, 1}, Permission::kRead).ok());
  CHECK_EQ(int(Put(appliance, stag, kPageBytes, std::string(kPage, 'x'))), int(Code::kAccess));
  CHECK(StateAt(appliance, 1) == PageState::kLost);
}

// Whoever dies half-way has told nobody that the page is well.
FARPAGE_TEST(whole_page_on_its_way_is_lost_again_after_a_restart) {
  const TemporaryFolder folder;
  const MemoryFiles::Options options{folder.File("."), "0123456789abcdef0123456789abcdef", "boot",
                                     kPages << kPageShift, {1, 2, 3, 4}};
  const auto word = [](PageState state, PageWord flags) {
    return static_cast<PageWord>(state) | flags;
  };
  for (const uint64_t changed : {4, 5}) {
    {
      auto files = MemoryFiles::Open(options);
      REQUIRE(files.ok());
      CHECK(files.value()->Adopt(true).ok());
      CHECK(files.value()->ReserveWords(0).ok());
      files.value()->words()[2] = word(PageState::kFilling, kDirty | kWritten | kStored);
      files.value()->words()[3] = word(PageState::kFilling, kWritten | kStored);
    }
    MemoryFiles::Options next = options;
    next.store.changed_ns = changed;
    auto files = MemoryFiles::Open(next);
    REQUIRE(files.ok());
    CHECK(files.value()->Adopt(true).ok());
    CHECK_EQ(files.value()->report().conflict_pages, 0u);
    CHECK_EQ(files.value()->words()[2].load(),
             word(PageState::kLost, kDirty | kWritten | kStored));
    CHECK_EQ(files.value()->words()[3].load(), changed == 4 ? kWritten | kStored : 0u);
  }
}

namespace {

// A staged file of 'a' that is to be written: how many pages were read for it.
struct Staged {
  explicit Staged(const ApplianceOptions& options = {}, bool atomic = false)
      : appliance(options), path(MakeFile(appliance, (kPages << kPageShift) - 100)) {
    stag = atomic ? appliance.OpenAtomicFile(path)
                  : appliance.OpenStaged((kPages << kPageShift) - 100,
                                         std::move(FileStore::Open({path, 0, 0, true})).value());
  }
  uint64_t read_pages() { return appliance.region->fills.filled_pages.load(); }
  bool Syncs(const std::string& all) {
    return appliance.Sync().ok() && BytesOf(path, 0, all.size()) == all;
  }
  Appliance appliance;
  std::string path;
  uint32_t stag = 0;
};

// Keeps pages and never gives one back.
class OneWayTier final : public Tier {
 public:
  void Put(std::span<TierPage> pages) override { pages_ += pages.size(); }
  Status Get(TierSlot, std::byte*) override { return Error{Code::kIo, EIO, "a one-way tier"}; }
  void Free(TierSlot) override { pages_--; }
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] const char* kind() const override { return "one-way"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return pages_.load() << kPageShift; }

 private:
  std::atomic<uint64_t> pages_{0};
};

}  // namespace

FARPAGE_TEST(whole_page_that_is_absent_is_not_read) {
  for (const bool atomic : {false, true}) {
    Staged file({}, atomic);
    std::string model((kPages << kPageShift) - 100, 'a');
    const auto put = [&](uint64_t offset, uint64_t bytes, char value) {
      CHECK_EQ(int(Put(file.appliance, file.stag, offset, std::string(bytes, value))), 0);
      model.replace(offset, bytes, bytes, value);
    };
    put(2 << kPageShift, 3 * kPageBytes, 'b');
    put((kPages - 1) << kPageShift, kPageBytes - 100, 'c');  // as long as its region
    CHECK_EQ(file.read_pages(), 0u);
    CHECK_EQ(file.appliance.region->table->dirty(), 4u);
    CHECK_EQ(Get(file.appliance, file.stag, 4 << kPageShift, kPage), std::string(kPage, 'b'));
    put((7 << kPageShift) + 10, 2 * kPageBytes, 'd');  // parts of two and the whole one between
    CHECK_EQ(file.read_pages(), 2u);
    put(11 << kPageShift, kPageBytes - 1, 'e');
    put((12 << kPageShift) + 1, kPageBytes - 1, 'f');
    CHECK_EQ(file.read_pages(), 4u);
    CHECK(file.Syncs(model));
    // Once more, from memory that has been given back: the next epoch of an atomic region.
    for (const char value : {'g', 'h', 'i'}) {
      Region& region = *file.appliance.region;
      file.appliance.pager.evictor().Reclaim(file.appliance.region, {0, kPages});
      CHECK_EQ(region.table->present(), 0u);
      put(2 << kPageShift, 5 * kPageBytes, value);
      CHECK_EQ(region.table->dirty(), 5u);
      CHECK(file.Syncs(model));
      CHECK_EQ(region.table->dirty(), 0u);
    }
    CHECK_EQ(file.read_pages(), 4u);
  }
}

// It is known with the last segment only whether a WRITE has brought all of a page.
FARPAGE_TEST(whole_page_that_is_absent_is_read_where_a_write_ends_within_it) {
  Staged file;
  std::string model((kPages << kPageShift) - 100, 'a');
  using Segment = std::tuple<uint64_t, uint64_t, bool>;  // offset, bytes, the last one
  const auto say = [&](std::initializer_list<Segment> segments) {
    auto peer = file.appliance.Connect();
    for (const auto& [offset, bytes, last] : segments) {
      Say(*peer, file.stag, offset, std::string(bytes, 's'), last);
      model.replace(offset, bytes, bytes, 's');
    }
    HangUp(std::move(peer));
  };
  const auto at = [](uint64_t page, uint64_t offset) { return (page << kPageShift) + offset; };
  say({{at(1, 0), 1024, false}, {at(1, 1024), 1024, false}, {at(1, 2048), 2048, true}});
  CHECK_EQ(file.read_pages(), 0u);
  say({{at(2, 0), 1024, false}, {at(2, 1024), 1024, true}});
  say({{at(3, 0), 1024, false}, {at(3, 0), 0, true}});  // the last one is empty
  CHECK_EQ(file.read_pages(), 2u);
  say({{at(4, 0), 1024, false}, {at(5, 8), 1024, true}});  // goes on elsewhere
  CHECK_EQ(file.read_pages(), 4u);
  say({{at(6, 0), 1024, false}, {at(6, 0), 0, false}, {at(6, 1024), 3072, true}});
  CHECK_EQ(file.read_pages(), 4u);
  for (PageIndex page = 1; page <= 6; page++) {
    CHECK(Get(file.appliance, file.stag, page << kPageShift, kPage) ==
          model.substr(page << kPageShift, kPage));
  }
  // Who is cut off within a page has not changed it.
  auto peer = file.appliance.Connect();
  Say(*peer, file.stag, at(9, 0), std::string(1024, 'x'), false);
  HangUp(std::move(peer));
  CHECK(StateAt(file.appliance, 9) == PageState::kAbsent);
  CHECK(file.Syncs(model));
}

FARPAGE_TEST(whole_page_waits_for_a_frame_and_not_for_its_bytes) {
  for (const bool atomic : {false, true}) {
    ApplianceOptions options;
    options.frames_max = 4;
    Staged file(options, atomic);
    CHECK_EQ(Get(file.appliance, file.stag, 0, 4 * kPage), std::string(4 * kPage, 'a'));
    const uint64_t before = file.read_pages();
    for (PageIndex page = 8; page < 12; page++) {
      const std::string bytes(kPage, static_cast<char>('A' + page));
      CHECK_EQ(int(Put(file.appliance, file.stag, page << kPageShift, bytes)), int(Code::kOk));
    }
    if (!atomic) CHECK_EQ(file.read_pages(), before);
    const std::string more(kPage, 'm');
    CHECK_EQ(int(Put(file.appliance, file.stag, 13 << kPageShift, more)), int(Code::kMemoryFull));
    CHECK(StateAt(file.appliance, 13) == PageState::kAbsent);
    CHECK(file.appliance.Sync().ok());
    CHECK_EQ(BytesOf(file.path, 9 << kPageShift, kPage), std::string(kPage, 'A' + 9));
  }
}

FARPAGE_TEST(whole_page_needs_nothing_of_the_tier_that_it_is_in) {
  ApplianceOptions options;
  options.frames_max = 4;
  Appliance appliance(options);
  std::vector<std::unique_ptr<Tier>> levels;
  levels.push_back(std::make_unique<OneWayTier>());
  const Tier& tier = *levels.back();
  appliance.UseTiers(std::move(levels));
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  for (const char value : {'1', '2', '3'}) {
    for (PageIndex page = 0; page < kPages; page++) {
      const std::string bytes(kPage, value);
      CHECK_EQ(int(Put(appliance, stag, page << kPageShift, bytes)), int(Code::kOk));
    }
  }
  PageTable& table = *appliance.region->table;
  CHECK_EQ(table.present() + table.elsewhere(), kPages);
  CHECK_EQ(tier.used_bytes(), table.elsewhere() << kPageShift);
  PageIndex gone = 0;
  while (StateAt(appliance, gone) != PageState::kAbsent) gone++;
  CHECK_EQ(int(Put(appliance, stag, gone << kPageShift, "part")), int(Code::kIo));
  CHECK_EQ(int(Put(appliance, stag, gone << kPageShift, std::string(kPage, '4'))), 0);
  CHECK_EQ(Get(appliance, stag, gone << kPageShift, kPage), std::string(kPage, '4'));
}

}  // namespace farpage::test
