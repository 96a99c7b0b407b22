// A process that is killed while its sync writes around the page cache (io_uring, O_DIRECT): as a
// write is queued, handed to the kernel, taken by it or over. Whoever starts next finds what was
// synced, and no write of the dead process lands on top of a new one.
// FARPAGE_KILLS makes it longer, FARPAGE_SEED repeats a run.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "appliance_fixture.h"
#include "check.h"
#include "killed_child.h"
#include "os/page_cache.h"
#include "stores/kept_store.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 512;
const uint64_t kSize = kPages << kPageShift;
constexpr uint64_t kSyncs = 4;  // of one life
// Steps of a ring in one life, as far as that is not known yet.
constexpr uint64_t kReach = 200;

enum class Kind : uint8_t { kStagedFile, kMappedFile, kKept, kAtomic };

// What lives over the death of a child.
struct Told {
  uint64_t synced = 0;  // the last sync that was told
  uint64_t begun = 0;   // the last one whose pages somebody began to write
};

struct Victim {
  Kind kind = Kind::kStagedFile;
  uint64_t nth = 0;  // step of a ring at which it is killed; 0: it lives to its end
  std::string folder;
};

// Which pages sync `number` writes: anybody can tell. Enough, and far enough apart, to go around
// the page cache.
bool Writes(uint64_t number, PageIndex page) {
  return ((page * 2'654'435'761u) >> 7) % 4 == number % 4;
}
// The sync that wrote a page last, as of sync `number`; 0: none.
uint64_t LastWriter(uint64_t number, PageIndex page) {
  while (number != 0 && !Writes(number, page)) number--;
  return number;
}

using Page = std::vector<uint64_t>;
Page PageOf(uint64_t number) { return Page(kPageBytes / sizeof(uint64_t), number); }

// One process over the file of the life.
class Process {
 public:
  Process(const Victim& victim, Told* told) : told_(*told) {
    const std::string path = victim.folder + "store";
    if (victim.kind == Kind::kMappedFile) {
      stag_ = appliance_.OpenFile(path, true);
    } else {
      if (victim.kind == Kind::kAtomic) Recover(victim.folder + "journal");
      Region::Options options;
      options.size_bytes = kSize;
      options.writable = true;
      options.atomic = victim.kind == Kind::kAtomic;
      auto store = OpenStore(victim.kind, path);
      auto memory = StagedMemory::Create(kSize, store.get());
      CHECK(memory.ok());
      stag_ = appliance_.Use(options, std::move(store), std::move(memory).value());
    }
    user_ = appliance_.Connect();
  }

  // Writes and syncs what the next sync is to have.
  void Sync() {
    const uint64_t number = told_.synced + 1;
    told_.begun = number;
    const Page bytes = PageOf(number);
    for (PageIndex page = 0; page < kPages; page++) {
      if (!Writes(number, page)) continue;
      const Completion written = Write(*user_, stag_, page << kPageShift, bytes.data(),
                                       static_cast<uint32_t>(kPageBytes));
      CHECK_EQ(int(written.code), int(Code::kOk));
    }
    const auto synced = appliance_.Sync();
    CHECK(synced.ok());
    if (synced.ok()) told_.synced = number;
  }

  // The pages are those of the last sync, or of the one that was under way: each of them, or with
  // `whole` all. From here on that is what was synced.
  void CheckFound(bool whole) {
    uint64_t old_pages = 0;
    uint64_t new_pages = 0;
    uint64_t strange_pages = 0;
    for (PageIndex page = 0; page < kPages; page++) {
      Page bytes(kPageBytes / sizeof(uint64_t));
      const Completion read = Read(*user_, stag_, page << kPageShift, bytes.data(),
                                   static_cast<uint32_t>(kPageBytes));
      CHECK_EQ(int(read.code), int(Code::kOk));
      const uint64_t before = LastWriter(told_.synced, page);
      const uint64_t after = LastWriter(told_.begun, page);
      if (bytes == PageOf(after)) {
        if (before != after) new_pages++;
      } else if (bytes == PageOf(before)) {
        old_pages++;
      } else {
        strange_pages++;
      }
    }
    CHECK_EQ(strange_pages, 0u);
    if (whole) CHECK(old_pages == 0 || new_pages == 0);
    // Told or not, it happened; else its pages are written again, and the same bytes.
    if (old_pages == 0) told_.synced = told_.begun;
  }

 private:
  static std::unique_ptr<PageStore> OpenStore(Kind kind, const std::string& path) {
    if (kind == Kind::kKept) {
      const auto zero = FillValueStore::Value::kZero;
      auto kept = KeptStore::Open(path, kSize, false, std::make_unique<FillValueStore>(zero));
      if (!kept.ok()) std::abort();
      return std::move(kept).value();
    }
    auto file = FileStore::Open({path, 0, 0, true});
    if (!file.ok()) std::abort();
    return std::move(file).value();
  }
  void Recover(const std::string& path) {
    auto journal = JournalFolder::Open(path);
    CHECK(journal.ok());
    std::vector<RecoveredStore> done;
    CHECK(journal.value()->Recover(JournalFolder::OpenNamed, &done).ok());
    CHECK(journal.value()->Waiting().empty());
    appliance_.pager.atomic_sync().UseJournal(std::move(journal).value());
  }

  Told& told_;
  Appliance appliance_;
  uint32_t stag_ = 0;
  std::unique_ptr<Initiator> user_;
};

// A file whose blocks all exist, on the device and not in the page cache. False: nothing goes
// around the page cache here.
bool MakeFile(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const Fd direct(::open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC));
  if (!direct.valid() || !IoRing::Create(2).ok()) return false;
  const std::vector<std::byte> zeros(kSize);
  CHECK_EQ(::pwrite(file.get(), zeros.data(), kSize, 0), ssize_t(kSize));
  CHECK_EQ(::fsync(file.get()), 0);
  return Uncache(file.get(), 0, kSize);
}

// In the process that is killed: true once it has lived.
bool LiveAsChild() {
  const char* text = ToldByParent();
  if (text == nullptr) return false;
  int kind = 0;
  unsigned long long nth = 0;
  std::array<char, 256> folder{};
  if (std::sscanf(text, "%d %llu %255s", &kind, &nth, folder.data()) != 3) std::abort();
  const Victim victim{static_cast<Kind>(kind), nth, folder.data()};
  auto* told = ShareFile<Told>(victim.folder + "told");
  const CallFault fault(victim.folder, kCallRing, victim.nth, kKillInstead);
  Process process(victim, told);
  for (uint64_t n = 0; n < kSyncs; n++) process.Sync();
  std::printf("%llu steps\n", static_cast<unsigned long long>(fault.calls()));
  CHECK(fault.calls() > kReach);
  return true;
}

void KillEach(const char* test, std::initializer_list<Kind> kinds) {
  if (LiveAsChild()) return;
  const uint64_t kills = FromEnvironment("FARPAGE_KILLS", 4);
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", NowNs());
  std::mt19937_64 random(seed);
  for (const Kind kind : kinds) {
    const TemporaryFolder folder;
    Victim victim{kind, 0, folder.File("")};
    if (!MakeFile(victim.folder + "store")) SKIP("nothing goes around the page cache here");
    auto* told = ShareFile<Told>(victim.folder + "told");
    for (uint64_t n = 0; n < kills; n++) {
      victim.nth = 1 + random() % kReach;
      const std::string text = std::to_string(static_cast<int>(kind)) + " " +
                               std::to_string(victim.nth) + " " + victim.folder;
      CHECK(IsKilled(test, text, victim.folder, 0));
      {
        Process next(victim, told);
        next.CheckFound(kind == Kind::kAtomic);
        next.Sync();
      }
      Process last(victim, told);
      last.CheckFound(true);
    }
    ::munmap(told, sizeof(Told));
  }
  std::printf("%s: seed %llu\n", test, static_cast<unsigned long long>(seed));
}

// The open file by which this process writes around the page cache; a request that is under way
// holds it like this descriptor does.
Fd HoldDirectFile(const std::string& path) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const int fd = std::atoi(entry.path().filename().c_str());
    if (!std::filesystem::equivalent(entry.path(), path, gone) || gone) continue;
    if ((::fcntl(fd, F_GETFL) & O_DIRECT) != 0) return Fd(::dup(fd));
  }
  return Fd();
}

}  // namespace

FARPAGE_TEST(killed_process_keeps_its_lock_while_its_writes_are_under_way) {
  const TemporaryFolder folder;
  const std::string path = folder.File("store");
  if (!MakeFile(path)) SKIP("nothing goes around the page cache here");
  auto store = FileStore::Open({path, 0, 0, true});
  REQUIRE(store.ok());
  Fd request = HoldDirectFile(path);
  REQUIRE(request.valid());
  store.value().reset();
  const uint64_t asked_ns = NowNs();
  CHECK_EQ(int(FileStore::Open({path, 0, 0, true}).error().code), int(Code::kFileLocked));
  CHECK(NowNs() - asked_ns >= kLockWaitNs);
  CHECK(FileStore::Open({path, 0, 0, false}).ok());
  request.Reset();
  CHECK(FileStore::Open({path, 0, 0, true}).ok());
}

FARPAGE_TEST(killed_at_a_step_of_a_ring_in_plain_syncs) {
  KillEach("killed_at_a_step_of_a_ring_in_plain_syncs",
           {Kind::kStagedFile, Kind::kMappedFile, Kind::kKept});
}
FARPAGE_TEST(killed_at_a_step_of_a_ring_in_atomic_syncs) {
  KillEach("killed_at_a_step_of_a_ring_in_atomic_syncs", {Kind::kAtomic});
}

}  // namespace farpage::test
