// A process that dies at the n-th write or barrier of its atomic syncs, again and again: whoever
// recovers finds in every store the last sync that was told, or the one after it, and no mix.
// FARPAGE_KILLS makes it longer, FARPAGE_SEED repeats a run.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>

#include "atomic_fixture.h"
#include "environment.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 24;
constexpr uint32_t kStores = 2;
constexpr uint64_t kSyncsMax = 6;   // of one life
constexpr uint64_t kCallsMax = 90;  // at which it may end

// What lives over the death of a child.
struct Shared {
  // Of each store; of all of them where they are synced together.
  uint64_t told[kStores] = {};   // the last sync that succeeded
  uint64_t begun[kStores] = {};  // the last one that was asked for
};

// Counts down, and ends the process in the middle of the last call.
struct Fuse {
  Fuse() = default;
  Fuse(uint64_t count, uint64_t bytes) : calls(count), cut(bytes) {}
  std::atomic<uint64_t> calls{0};
  uint64_t cut = 0;
  bool Burns() { return calls.load() != 0 && calls.fetch_sub(1) == 1; }
  // Whatever its other threads do at that moment.
  [[noreturn]] static void End() {
    for (;;) ::kill(::getpid(), SIGKILL);
  }
};

class KillingFile final : public JournalFile {
 public:
  KillingFile(std::unique_ptr<JournalFile> inner, Fuse* fuse)
      : inner_(std::move(inner)), fuse_(fuse) {}
  Status Reserve(uint64_t bytes) override {
    if (fuse_->Burns()) Fuse::End();
    return inner_->Reserve(bytes);
  }
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    if (fuse_->Burns()) {
      (void)inner_->Write(offset, bytes.first(fuse_->cut % (bytes.size() + 1)));
      Fuse::End();
    }
    return inner_->Write(offset, bytes);
  }
  Status Read(uint64_t offset, std::span<std::byte> into, uint64_t* got) override {
    return inner_->Read(offset, into, got);
  }
  void StartWriting(uint64_t, uint64_t) override {}
  // The kernel lives on: what was written is safe without a barrier.
  Status MakeDurable() override {
    if (fuse_->Burns()) Fuse::End();
    return {};
  }
  Status Shrink(uint64_t bytes) override { return inner_->Shrink(bytes); }
  Result<Mapping> Map(uint64_t bytes) override { return inner_->Map(bytes); }

 private:
  std::unique_ptr<JournalFile> inner_;
  Fuse* fuse_;
};

class KillingStore final : public PageStore {
 public:
  KillingStore(std::unique_ptr<FileStore> inner, Fuse* fuse)
      : inner_(std::move(inner)), fuse_(fuse) {}
  PagesFrom OriginOf(PageRun run) const override { return inner_->OriginOf(run); }
  StoreIdentity Identity() const override { return inner_->Identity(); }
  SinkFile Sink() const override { return inner_->Sink(); }
  Status Read(PageRun run, std::byte* into) override { return inner_->Read(run, into); }
  Status Write(std::span<PageImage> images) override {
    for (PageImage& image : images) {
      std::this_thread::sleep_for(std::chrono::microseconds(slow_us));
      if (fuse_->Burns()) {
        image.length_bytes = fuse_->cut % (image.length_bytes + 1);
        (void)inner_->Write({&image, 1});
        Fuse::End();
      }
      if (Status one = inner_->Write({&image, 1}); !one.ok()) return one;
    }
    return {};
  }
  Status MakeDurable() override {
    if (fuse_->Burns()) Fuse::End();
    return {};
  }
  uint64_t slow_us = 0;  // for each image

 private:
  std::unique_ptr<FileStore> inner_;
  Fuse* fuse_;
};

// The files of the journal on disk.
OpenJournalFile Killing(Fuse* fuse) {
  return [fuse](const std::string& path, bool make) -> Result<std::unique_ptr<JournalFile>> {
    auto file = OsJournalFile::Open(path, make);
    if (!file.ok()) return file.error();
    return std::unique_ptr<JournalFile>(
        std::make_unique<KillingFile>(std::move(file).value(), fuse));
  };
}

// All stores are synced as one, or each by a thread of its own.
class KillRun {
 public:
  KillRun(uint64_t seed, bool together) : seed_(seed), together_(together), random_(seed) {
    void* at = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_ = new (at) Shared();
    for (uint32_t store = 0; store < kStores; store++) {
      std::ofstream(PathOf(store)) << "";
      CHECK_EQ(::truncate(PathOf(store).c_str(), off_t(kPages << kPageShift)), 0);
    }
  }
  ~KillRun() { ::munmap(shared_, sizeof(Shared)); }

  // One life, its death and the recovery. False: something was not as it must be.
  bool Round() {
    Fuse fuse{1 + random_() % kCallsMax, random_()};
    if (Child([&] { Live(fuse); })) deaths++;
    // Some recoveries die as well, and one finds a store away for a while.
    if (random_() % 3 == 0) {
      Fuse short_fuse{1 + random_() % 12, random_()};
      if (Child([&] { Recover(short_fuse, false); })) deaths++;
    }
    if (random_() % 8 == 0) {
      Fuse none;
      Recover(none, true);
    }
    Fuse none;
    if (!Recover(none, false)) return false;
    return Compare();
  }

  bool UsedSegments() const {
    return ::access(folder_.File("journal-segment-1").c_str(), F_OK) == 0;
  }

  uint64_t deaths = 0;

 private:
  std::string PathOf(uint32_t store) const {
    return folder_.File("store-" + std::to_string(store));
  }

  template <typename Body>
  bool Child(Body body) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
      body();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    const bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!killed && !ended) Fail(__FILE__, __LINE__, "a child crashed");
    return killed;
  }

  // Which pages sync `number` writes: anybody can tell.
  bool Writes(uint64_t number, uint32_t store, PageIndex page) const {
    std::mt19937_64 dice(seed_ * 1'000'003 + number * 64 + store * 32 + page);
    return dice() % 3 == 0;
  }
  uint64_t Expected(uint64_t number, uint32_t store, PageIndex page) const {
    while (number != 0 && !Writes(number, store, page)) number--;
    return number;
  }

  void Live(Fuse& fuse) {
    auto opened = JournalFolder::Over(folder_.File("journal"), Killing(&fuse));
    Shootdown shootdown;
    WaiterList waiters;
    AtomicSync sync(shootdown, waiters);
    sync.UseJournal(std::move(opened).value());
    std::vector<AtomicSync::Member> members;
    for (uint32_t n = 0; n < kStores; n++) members.push_back(Open(n, sync, &fuse));
    if (together_) {
      SyncAgain(sync, members, 0);
      return;
    }
    std::vector<std::thread> threads;
    for (uint32_t n = 0; n < kStores; n++) {
      threads.emplace_back([&, n] { SyncAgain(sync, {members[n]}, n); });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Members are the stores from `first` on.
  void SyncAgain(AtomicSync& sync, const std::vector<AtomicSync::Member>& members,
                 uint32_t first) {
    for (uint64_t n = 0; n < kSyncsMax; n++) {
      const uint64_t number = shared_->begun[first] + 1;
      for (uint32_t member = 0; member < members.size(); member++) {
        Region& region = *members[member].region;
        for (PageIndex page = 0; page < kPages; page++) {
          if (!Writes(number, first + member, page)) continue;
          while (!region.table->MarkDirty(page)) {
            PageWord word = region.table->Load(page);
            (void)region.table->Change(page, word, word | kWritable);
          }
          FillPage(region.memory->address() + (page << kPageShift), number);
        }
      }
      for (uint32_t m = 0; m < members.size(); m++) shared_->begun[first + m] = number;
      if (!sync.Run(members).ok()) continue;
      for (uint32_t m = 0; m < members.size(); m++) shared_->told[first + m] = number;
    }
  }

  AtomicSync::Member Open(uint32_t index, AtomicSync& sync, Fuse* fuse) {
    auto file = FileStore::Open({PathOf(index), 0, 0, true});
    auto store = std::make_unique<KillingStore>(std::move(file).value(), fuse);
    // Others go on beside the first one.
    if (!together_ && index == 0) store->slow_us = 200;
    auto memory = StagedMemory::Create(kPages << kPageShift, store.get());
    auto table = PageTable::Create(kPages);
    Region::Options options;
    options.size_bytes = kPages << kPageShift;
    options.writable = true;
    options.atomic = true;
    auto region = std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                           std::move(memory).value());
    region->table->Follow(&sync.epoch());
    for (PageIndex page = 0; page < kPages; page++) {
      ChangePage(*region->table, page,
                 [](PageWord word) { return WithState(word, PageState::kFilling); });
      ChangePage(*region->table, page, [&](PageWord) { return region->PresentFlags(); });
    }
    return {std::move(region), {0, kPages}};
  }

  bool Recover(Fuse& fuse, bool one_is_away) {
    auto opened = JournalFolder::Over(folder_.File("journal"), Killing(&fuse));
    if (!opened.ok()) {
      Fail(__FILE__, __LINE__, "the journal was refused, seed " + std::to_string(seed_));
      return false;
    }
    std::vector<RecoveredStore> done;
    const Status recovered = opened.value()->Recover(
        [&](const JournalStore& store) -> Result<std::unique_ptr<PageStore>> {
          if (one_is_away && store.path == PathOf(1)) {
            return Error{Code::kFileNotFound, ENOENT, "away"};
          }
          auto named = JournalFolder::OpenNamed(store);
          if (!named.ok()) return named.error();
          std::unique_ptr<FileStore> bare(static_cast<FileStore*>(named.value().release()));
          return std::unique_ptr<PageStore>(
              std::make_unique<KillingStore>(std::move(bare), &fuse));
        },
        &done);
    return recovered.ok() && (one_is_away || opened.value()->Waiting().empty());
  }

  bool Compare() {
    if (together_) return Compare(0, kStores);
    for (uint32_t store = 0; store < kStores; store++) {
      if (!Compare(store, store + 1)) return false;
    }
    return true;
  }
  // Stores that are synced as one.
  bool Compare(uint32_t first, uint32_t end) {
    for (uint64_t number = shared_->told[first]; number <= shared_->begun[first]; number++) {
      bool same = true;
      for (uint32_t store = first; store < end && same; store++) same = Has(store, number);
      if (!same) continue;
      // The next life goes on from what there is.
      for (uint32_t store = first; store < end; store++) {
        shared_->told[store] = shared_->begun[store] = number;
      }
      return true;
    }
    Fail(__FILE__, __LINE__, "neither sync " + std::to_string(shared_->told[first]) + " nor " +
                                 std::to_string(shared_->begun[first]) + ", seed " +
                                 std::to_string(seed_));
    return false;
  }
  bool Has(uint32_t store, uint64_t number) const {
    std::ifstream in(PathOf(store), std::ios::binary);
    std::vector<char> bytes(kPages << kPageShift);
    in.read(bytes.data(), std::streamsize(bytes.size()));
    for (PageIndex page = 0; page < kPages; page++) {
      const auto* at = reinterpret_cast<std::byte*>(bytes.data()) + (page << kPageShift);
      if (!IsFilledWith(at, Expected(number, store, page))) return false;
    }
    return true;
  }

  const uint64_t seed_;
  const bool together_;
  std::mt19937_64 random_;
  TemporaryFolder folder_;
  Shared* shared_;
};

void KillAgain(bool together, uint64_t usual) {
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", 20261125);
  const uint64_t kills = FromEnvironment("FARPAGE_KILLS", usual);
  KillRun run(seed, together);
  while (run.deaths < kills && run.Round()) {
  }
  std::printf("%llu deaths, seed %llu\n", static_cast<unsigned long long>(run.deaths),
              static_cast<unsigned long long>(seed));
  CHECK(run.deaths >= kills);
  // Those that go on beside each other are in files of their own.
  CHECK_EQ(run.UsedSegments(), !together);
}

}  // namespace

FARPAGE_TEST(atomic_kill_at_any_call_leaves_one_sync_or_the_next) { KillAgain(true, 250); }
FARPAGE_TEST(atomic_kill_beside_other_syncs_leaves_one_sync_or_the_next) {
  KillAgain(false, 120);
}

}  // namespace farpage::test
