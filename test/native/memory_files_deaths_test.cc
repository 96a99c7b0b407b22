// The memory directory: a process dies, or gives up, while it settles what the one before it left.
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"
#include "memory_files_fixture.h"

namespace farpage::test {
namespace {

constexpr PageWord kUnsaved = Word(PageState::kPresent, kUsable | kDirty);

std::string FileOf(const MemoryFiles::Options& options, const char* kind) {
  return options.directory + "/" + options.id + kind;
}

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// The life of `options` was served; the next one begins.
void Live(MemoryFiles::Options* options) { options->life = options->next_life++; }

// Adopts up to the first file that it opens: that of the memory, when the old one has been set
// aside. All is left as whoever dies there leaves it.
void DieSettingAside(const MemoryFiles::Options& options) {
  auto files = MemoryFiles::Open(options);
  REQUIRE(files.ok());
  rlimit was{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &was) == 0);
  const rlimit none{0, was.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const Status adopted = files.value()->Adopt(true);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &was) == 0);
  CHECK(!adopted.ok());
}

// Adopts up to the rename, which it has no memory file for.
void DieBeforeSettingAside(const MemoryFiles::Options& options) {
  auto files = MemoryFiles::Open(options);
  REQUIRE(files.ok());
  CHECK_EQ(::unlink(FileOf(options, ".memory").c_str()), 0);
  CHECK(!files.value()->Adopt(true).ok());
}

void CheckAside(const AdoptionReport& report, const std::string& file, PageRun pages) {
  CHECK_EQ(report.conflict_file, file);
  CHECK_EQ(report.conflict_pages, pages.count);
  REQUIRE(report.conflicts.size() == 1);
  CHECK(report.conflicts[0] == pages);
  const Fd aside(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  CHECK_EQ(::pread(aside.get(), &byte, 1, static_cast<off_t>(pages.offset_bytes())), 1);
  CHECK_EQ(byte, static_cast<char>(pages.first + 1));
}

MemoryFiles::Options Lived(const TemporaryFolder& folder) {
  MemoryFiles::Options options = In(folder);
  options.life = 4;
  options.next_life = 5;
  return options;
}

}  // namespace

// Until the caller has noted that it heard, whoever asks again hears the same: that nothing was
// there, or that it was discarded, is how a loss becomes known.
FARPAGE_TEST(memory_files_tell_a_loss_until_it_was_heard) {
  const auto told = [](Adoption what, auto lose) {
    const TemporaryFolder folder;
    MemoryFiles::Options options = Lived(folder);
    Leave(options, {{9, Word(PageState::kPresent, kUsable)}, {10, kUnsaved}});
    Live(&options);
    lose(options);
    for (int time = 0; time < 3; time++) {
      auto files = Open(options);
      CHECK(files->report().outcome == what);
      CHECK_EQ(files->report().conflict_pages, what == Adoption::kStale ? 1u : 0u);
      // What is read meanwhile changes nothing of it.
      CHECK(files->ReserveWords(20).ok());
      CHECK(::ftruncate(files->TakeMemory().get(), static_cast<off_t>(kSize)) == 0);
      files->words()[20].store(Word(PageState::kPresent, kReadable));
    }
    Live(&options);
    CHECK(Open(options)->report().outcome == Adoption::kAdopted);
    CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  };
  told(Adoption::kMade, [](MemoryFiles::Options& options) {
    CHECK_EQ(::unlink(FileOf(options, ".table").c_str()), 0);
    CHECK_EQ(::unlink(FileOf(options, ".memory").c_str()), 0);
  });
  told(Adoption::kDiscarded, [](MemoryFiles::Options& options) {
    CHECK_EQ(::unlink(FileOf(options, ".memory").c_str()), 0);
  });
  told(Adoption::kDiscarded, [](MemoryFiles::Options& options) {
    CHECK_EQ(::truncate(FileOf(options, ".table").c_str(), 65'536), 0);
  });
  told(Adoption::kDiscarded, [](MemoryFiles::Options& options) { options.boot_id = "boot-2"; });
  told(Adoption::kStale, [](MemoryFiles::Options& options) {
    Live(&options);
    Live(&options);
  });
}

// The same of a conflict, and where its bytes are; what was lost before is not among them.
FARPAGE_TEST(memory_files_name_a_conflict_until_it_was_heard) {
  for (const uint64_t size : {kSize, kSize * 2}) {
    const TemporaryFolder folder;
    MemoryFiles::Options options = Lived(folder);
    Leave(options, {{9, Word(PageState::kPresent, kUsable)},
                    {10, kUnsaved},
                    {11, kUnsaved},
                    {12, Word(PageState::kLost, kDirty)}});
    // It has no bytes.
    const Fd memory(::open(FileOf(options, ".memory").c_str(), O_RDWR | O_CLOEXEC));
    CHECK_EQ(::fallocate(memory.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(12 * kPageBytes), static_cast<off_t>(kPageBytes)), 0);
    Live(&options);
    options.store.changed_ns++;
    options.size_bytes = size;
    for (int time = 0; time < 3; time++) {
      const auto files = Open(options);
      CHECK(files->report().outcome == Adoption::kConflict);
      CheckAside(files->report(), FileOf(options, ".conflict-1"), {10, 2});
    }
    Live(&options);
    const AdoptionReport report = Open(options)->report();
    CHECK(report.outcome == Adoption::kAdopted);
    CHECK_EQ(report.conflict_pages, 0u);
    CHECK_EQ(report.conflict_file, "");
  }
}

// Who dies when the bytes have been set aside and the words do not say so yet has set them aside.
FARPAGE_TEST(memory_files_name_what_a_death_has_left_set_aside) {
  const TemporaryFolder folder;
  MemoryFiles::Options options = Lived(folder);
  Leave(options, {{10, kUnsaved}});
  Live(&options);
  options.store.changed_ns++;
  DieSettingAside(options);
  CHECK(Exists(FileOf(options, ".conflict-1")));
  auto files = Open(options);
  CHECK(files->report().outcome == Adoption::kConflict);
  CheckAside(files->report(), FileOf(options, ".conflict-1"), {10, 1});
  CHECK(!Exists(FileOf(options, ".conflict-2")));
  CHECK_EQ(files->words()[10].load(), Word(PageState::kLost, kDirty));
  files.reset();
  // Another conflict later has a file of its own.
  Live(&options);
  Leave(options, {{11, kUnsaved}});
  Live(&options);
  options.store.changed_ns++;
  CheckAside(Open(options)->report(), FileOf(options, ".conflict-2"), {11, 1});
}

// Bytes that are gone are not where anybody could find them, whatever else is a conflict.
FARPAGE_TEST(memory_files_that_were_cut_are_no_conflict) {
  const auto lost = [](int64_t bytes, bool older, auto change) {
    const TemporaryFolder folder;
    MemoryFiles::Options options = Lived(folder);
    if (older) {
      Leave(options, {{7, kUnsaved}});
      Live(&options);
      options.store.changed_ns++;
      CheckAside(Open(options)->report(), FileOf(options, ".conflict-1"), {7, 1});
      Live(&options);
    }
    Leave(options, {{8, Word(PageState::kPresent, kUsable)}, {10, kUnsaved}});
    Live(&options);
    const std::string path = FileOf(options, ".memory");
    CHECK_EQ(bytes < 0 ? ::unlink(path.c_str()) : ::truncate(path.c_str(), bytes), 0);
    change(options);
    for (int time = 0; time < 2; time++) {
      const AdoptionReport report = Open(options)->report();
      CHECK(report.outcome == Adoption::kDiscarded);
      CHECK_EQ(report.conflict_pages, 0u);
      CHECK_EQ(report.conflict_file, "");
    }
    CHECK_EQ(Exists(FileOf(options, ".conflict-1")), older);
    CHECK(!Exists(FileOf(options, ".conflict-2")));
  };
  const auto other_store = [](MemoryFiles::Options& options) { options.store.changed_ns++; };
  for (const bool older : {false, true}) {
    for (const int64_t bytes : {int64_t{-1}, int64_t{0}, int64_t{4096}}) {
      lost(bytes, older, other_store);
      lost(bytes, older, [](MemoryFiles::Options& options) { options.size_bytes = kSize * 2; });
      lost(bytes, older, [](MemoryFiles::Options& options) {
        Live(&options);
        Live(&options);
      });
    }
    // Nor is what was about to be set aside.
    lost(int64_t(kSize), older, [&](MemoryFiles::Options& options) {
      other_store(options);
      DieBeforeSettingAside(options);
    });
  }
}

}  // namespace farpage::test
