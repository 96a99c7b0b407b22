// The memory directory: what a region finds again after its process has died.
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "memory_files_fixture.h"
#include "pager/page_change.h"

namespace farpage::test {

FARPAGE_TEST(memory_files_repair_what_was_half_done) {
  const TemporaryFolder folder;
  Leave(In(folder), {
      {0, Word(PageState::kPresent, kUsable | kAccessed)},
      {1, Word(PageState::kPresent, kUsable | kDirty | kWritten)},
      {2, Word(PageState::kPresent, kReadable | kWriteback | kWritten)},
      {3, Word(PageState::kPresent, kUsable | kUnsynced | kWritten)},
      {4, Word(PageState::kCopying, kReadable | kWritten | kWaiters)},
      {5, Word(PageState::kFilling, kWaiters | kAhead)},
      {6, Word(PageState::kEvicting, kWritten)},
      {7, Word(PageState::kLost, kDirty | kWritten)},
      {3000, Word(PageState::kPresent, kUsable | kHeld)},
  });
  auto files = Open(In(folder));
  const AdoptionReport report = files->report();
  CHECK(report.outcome == Adoption::kAdopted);
  CHECK_EQ(report.clean_pages, 3u);
  CHECK_EQ(report.dirty_pages, 3u);
  CHECK_EQ(report.repaired_pages, 6u);
  CHECK_EQ(ByteAt(In(folder), 1), 2);
  CHECK_EQ(ByteAt(In(folder), 5), 0);
  CHECK_EQ(ByteAt(In(folder), 6), 0);
  auto table = PageTable::Over(std::move(files), kPages);
  CHECK(table.ok());
  PageTable& words = *table.value();
  // What is clean asks before it becomes dirty.
  CHECK_EQ(words.Load(0), Word(PageState::kPresent, kReadable));
  CHECK_EQ(words.Load(1), Word(PageState::kPresent, kUsable | kDirty | kWritten));
  CHECK_EQ(words.Load(2), words.Load(1));
  CHECK_EQ(words.Load(3), words.Load(1));
  CHECK_EQ(words.Load(4), Word(PageState::kPresent, kReadable | kWritten));
  CHECK_EQ(words.Load(5), 0u);
  CHECK_EQ(words.Load(6), kWritten);
  CHECK_EQ(words.Load(7), Word(PageState::kLost, kDirty | kWritten));
  CHECK_EQ(words.Load(3000), Word(PageState::kPresent, kReadable));
  CHECK_EQ(words.Load(2000), 0u);
  CHECK_EQ(words.present(), 6u);
  CHECK_EQ(words.dirty(), 4u);
  CHECK_EQ(words.written(), 6u);
  CHECK_EQ(words.lost(), 1u);
  CHECK_EQ(words.dirty_summary().Next(0), 0u);
  CHECK_EQ(words.dirty_summary().Next(1), words.dirty_summary().chunks());
  CHECK_EQ(words.present_summary().Next(1), 2u);
}

// On a tmpfs a load from a hole of a shared mapping takes a page, and ends the process where there
// is none: whatever looks at words of pages that nobody has claimed must not.
FARPAGE_TEST(memory_files_take_no_room_for_looks_at_their_words) {
  std::string directory = "/dev/shm/farpage-XXXXXX";
  REQUIRE(::mkdtemp(directory.data()) != nullptr);
  {
    constexpr uint64_t kChunks = 256;
    MemoryFiles::Options options{directory, std::string(32, 'a'), "boot-1",
                                 kChunks * kSummaryPages << kPageShift, {1, 2, 3, 4}};
    auto table = PageTable::Over(Open(options), kChunks * kSummaryPages);
    REQUIRE(table.ok());
    PageTable& words = *table.value();
    const auto blocks = [&] {
      struct stat found{};
      CHECK_EQ(::stat((directory + "/" + options.id + ".table").c_str(), &found), 0);
      return found.st_blocks;
    };
    const auto before = blocks();
    for (uint64_t chunk = 0; chunk < kChunks; chunk++) {
      const PageIndex page = chunk * kSummaryPages + chunk;
      words.Warm(page);
      CHECK_EQ(words.Load(page), 0u);
      CHECK(!words.MarkDirty(page));
      CHECK_EQ(words.ClearFlags(page, kHeld), 0u);
    }
    CHECK_EQ(blocks(), before);
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

FARPAGE_TEST(memory_files_of_another_boot_or_region_are_discarded) {
  const auto discarded = [](auto change) {
    const TemporaryFolder folder;
    MemoryFiles::Options options = In(folder);
    Leave(options, {{9, Word(PageState::kPresent, kUsable | kDirty)}});
    change(options);
    auto files = Open(options);
    CHECK(files->report().outcome == Adoption::kDiscarded);
    CHECK_EQ(ByteAt(options, 9) == 10, false);
    CHECK_EQ(files->NextTouched(0), options.size_bytes >> kPageShift);
    files.reset();
    // And from now on they belong to what discarded them.
    CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  };
  discarded([](MemoryFiles::Options& options) { options.boot_id = "boot-2"; });
  discarded([](MemoryFiles::Options& options) {
    const std::string old = options.directory + "/" + options.id;
    options.id = "ffffffffffffffffffffffffffffffff";
    for (const char* kind : {".memory", ".table"}) {
      CHECK_EQ(::rename((old + kind).c_str(),
                        (options.directory + "/" + options.id + kind).c_str()), 0);
    }
  });
}

// Words or bytes that somebody cut off: nobody knows what the pages were, so they are neither old
// bytes nor zeros.
FARPAGE_TEST(memory_files_that_were_cut_are_discarded) {
  const auto cut = [](const char* kind, int64_t bytes) {
    const TemporaryFolder folder;
    const MemoryFiles::Options options = In(folder);
    Leave(options, {{9, Word(PageState::kPresent, kUsable | kDirty)},
                    {3000, Word(PageState::kPresent, kUsable)},
                    {3001, Word(PageState::kLost, kDirty)}});
    const std::string path = options.directory + "/" + options.id + kind;
    CHECK_EQ(bytes < 0 ? ::unlink(path.c_str()) : ::truncate(path.c_str(), bytes), 0);
    if (kind == std::string(".table")) CHECK_EQ(MemoryFiles::Look(options).present, 0u);
    auto files = Open(options);
    CHECK(files->report().outcome == Adoption::kDiscarded);
    CHECK_EQ(files->report().dirty_pages + files->report().clean_pages, 0u);
    CHECK_EQ(ByteAt(options, 9) == 10, false);
    CHECK_EQ(files->NextTouched(0), kPages);
    CHECK(::ftruncate(files->TakeMemory().get(), static_cast<off_t>(kSize)) == 0);
    files.reset();
    CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  };
  const int64_t table_bytes = 65'536 + kPages * int64_t{sizeof(PageWord)};
  for (const int64_t bytes : {int64_t{-1}, int64_t{0}, int64_t{4096}, int64_t{65'536},
                              table_bytes - 4096}) {
    cut(".table", bytes);
  }
  for (const int64_t bytes : {int64_t{-1}, int64_t{0}, int64_t{4096}, int64_t(kSize) - 4096}) {
    cut(".memory", bytes);
  }
  // Of another size as well: what was cut off is no conflict that could be named.
  const TemporaryFolder folder;
  MemoryFiles::Options options = In(folder);
  Leave(options, {{9, Word(PageState::kPresent, kUsable | kDirty)}});
  CHECK_EQ(::truncate((options.directory + "/" + options.id + ".table").c_str(), 65'536), 0);
  options.size_bytes = kSize * 2;
  CHECK(Open(options)->report().outcome == Adoption::kDiscarded);
  CHECK(Open(options)->report().outcome == Adoption::kAdopted);
}

// Who only asks what is there changes nothing.
FARPAGE_TEST(memory_files_tell_what_was_left_in_them) {
  const TemporaryFolder folder;
  MemoryFiles::Options options = In(folder);
  CHECK_EQ(MemoryFiles::Look(options).present, 0u);
  Leave(options, {{9, Word(PageState::kPresent, kUsable | kDirty)},
                  {10, Word(PageState::kCopying, kUsable | kWriteback)},
                  {2999, Word(PageState::kAbsent, kWritten)},
                  {3000, Word(PageState::kPresent, kUsable)},
                  {3001, Word(PageState::kFilling, 0)},
                  {3002, Word(PageState::kLost, kDirty)}});
  const FoundPages found = MemoryFiles::Look(options);
  CHECK_EQ(found.present, 3u);
  CHECK_EQ(found.dirty, 3u);
  CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  options.boot_id = "another";
  CHECK_EQ(MemoryFiles::Look(options).present, 0u);
}

// A process that died before its memory had its size has left no page in it.
FARPAGE_TEST(memory_files_without_pages_may_have_no_size_yet) {
  const TemporaryFolder folder;
  const MemoryFiles::Options options = In(folder);
  Leave(options, {{9, Word(PageState::kLost, kDirty)}});
  CHECK_EQ(::truncate((options.directory + "/" + options.id + ".memory").c_str(), 0), 0);
  auto files = Open(options);
  CHECK(files->report().outcome == Adoption::kAdopted);
  CHECK_EQ(files->words()[9].load(), Word(PageState::kLost, kDirty));
}

FARPAGE_TEST(memory_files_of_another_store_are_a_conflict_that_keeps_the_bytes) {
  const TemporaryFolder folder;
  MemoryFiles::Options options = In(folder);
  Leave(options, {{9, Word(PageState::kPresent, kUsable)},
                  {10, Word(PageState::kPresent, kUsable | kDirty)},
                  {11, Word(PageState::kPresent, kReadable | kUnsynced)}});
  options.store.changed_ns++;
  auto files = Open(options);
  const AdoptionReport report = files->report();
  CHECK(report.outcome == Adoption::kConflict);
  CHECK_EQ(report.dropped_pages, 1u);
  CHECK_EQ(report.conflict_pages, 2u);
  CHECK_EQ(report.conflicts.size(), 1u);
  CHECK_EQ(report.conflicts[0].first, 10u);
  CHECK_EQ(report.conflicts[0].count, 2u);
  CHECK_EQ(files->words()[9].load(), 0u);
  CHECK_EQ(files->words()[10].load(), Word(PageState::kLost, kDirty));
  CHECK_EQ(ByteAt(options, 10) == 11, false);
  Fd aside(::open(report.conflict_file.c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  CHECK_EQ(::pread(aside.get(), &byte, 1, static_cast<off_t>(uint64_t{11} << kPageShift)), 1);
  CHECK_EQ(byte, 12);
  CHECK_EQ(::pread(aside.get(), &byte, 1, static_cast<off_t>(uint64_t{9} << kPageShift)), 1);
  CHECK_EQ(byte, 0);
}

// Each sign of another store alone: that it was cut or has grown, that it is another file, that
// something else is mounted there, that it was written meanwhile.
FARPAGE_TEST(memory_files_see_each_change_of_the_store) {
  const auto changed = [](auto change) {
    const TemporaryFolder folder;
    MemoryFiles::Options options = In(folder);
    Leave(options, {{9, Word(PageState::kPresent, kUsable | kDirty)}});
    CHECK(Open(options)->report().outcome == Adoption::kAdopted);
    change(options.store);
    auto files = Open(options);
    CHECK(files->report().outcome == Adoption::kConflict);
    CHECK_EQ(files->report().conflict_pages, 1u);
    files.reset();
    // Told once; from then on the store is the one that it belongs to, and the page is lost.
    auto again = Open(options);
    CHECK(again->report().outcome == Adoption::kAdopted);
    CHECK_EQ(again->words()[9].load(), Word(PageState::kLost, kDirty));
  };
  changed([](StoreIdentity& store) { store.device++; });
  changed([](StoreIdentity& store) { store.inode++; });
  changed([](StoreIdentity& store) { store.size_bytes++; });
  changed([](StoreIdentity& store) { store.changed_ns++; });
}

// The region was written without this memory since: what is in it is older than that.
FARPAGE_TEST(memory_files_of_another_life_are_stale_and_keep_the_bytes) {
  const TemporaryFolder folder;
  MemoryFiles::Options options = In(folder);
  options.life = 4;
  options.next_life = 5;
  Leave(options, {{9, Word(PageState::kPresent, kUsable)},
                  {10, Word(PageState::kPresent, kUsable | kDirty)}});
  // Who died before its caller knew of life 5 comes again with 4; then 5 is known.
  CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  options.life = 5;
  options.next_life = 6;
  CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  options.life = 7;
  options.next_life = 8;
  // Who dies while it is set aside meets it again.
  CHECK(MemoryFiles::Open(options).value()->report().outcome == Adoption::kStale);
  const AdoptionReport report = Open(options)->report();
  CHECK(report.outcome == Adoption::kStale);
  CHECK_EQ(report.dropped_pages, 1u);
  CHECK_EQ(report.conflict_pages, 1u);
  Fd aside(::open(report.conflict_file.c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  CHECK_EQ(::pread(aside.get(), &byte, 1, static_cast<off_t>(uint64_t{10} << kPageShift)), 1);
  CHECK_EQ(byte, 11);
  // Told until the caller knows of life 8.
  CHECK(Open(options)->report().outcome == Adoption::kStale);
  options.life = 8;
  options.next_life = 9;
  auto again = Open(options);
  CHECK(again->report().outcome == Adoption::kAdopted);
  CHECK_EQ(again->words()[9].load(), 0u);
  CHECK_EQ(again->words()[10].load(), Word(PageState::kLost, kDirty));
  again.reset();
  // Of another size as well: that is no reason to forget how old it is.
  options.life = options.next_life = 11;
  options.size_bytes = kSize * 2;
  CHECK(Open(options)->report().outcome == Adoption::kStale);
  CHECK(Open(options)->report().outcome == Adoption::kAdopted);
}

FARPAGE_TEST(memory_files_of_a_region_of_another_size_are_a_conflict) {
  for (const uint64_t size : {kSize * 2, kSize / 2, kSize - 5 * kPageBytes}) {
    const TemporaryFolder folder;
    MemoryFiles::Options options = In(folder);
    Leave(options, {{8, Word(PageState::kPresent, kUsable)},
                    {9, Word(PageState::kPresent, kUsable | kDirty)},
                    {kPages - 1, Word(PageState::kPresent, kUsable | kDirty)}});
    options.size_bytes = size;
    auto files = Open(options);
    const AdoptionReport report = files->report();
    CHECK(report.outcome == Adoption::kConflict);
    CHECK_EQ(report.dropped_pages, 1u);
    CHECK_EQ(report.conflict_pages, 2u);
    CHECK_EQ(report.conflicts.size(), 2u);
    CHECK_EQ(files->words()[8].load(), 0u);
    CHECK_EQ(files->words()[9].load(), Word(PageState::kLost, kDirty));
    CHECK_EQ(ByteAt(options, 9) == 10, false);
    Fd aside(::open(report.conflict_file.c_str(), O_RDONLY | O_CLOEXEC));
    char byte = 0;
    const uint64_t last = (kPages - 1) << kPageShift;
    CHECK_EQ(::pread(aside.get(), &byte, 1, static_cast<off_t>(last)), 1);
    CHECK_EQ(byte, static_cast<char>(kPages));
    auto table = PageTable::Over(std::move(files), size >> kPageShift);
    CHECK(table.ok());
    CHECK_EQ(table.value()->lost(), size > kSize ? 2u : 1u);
    table = Error{};
    CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  }
}

// What a newer version keeps is not ours to empty.
FARPAGE_TEST(memory_files_of_another_version_are_refused_and_left_alone) {
  const TemporaryFolder folder;
  const MemoryFiles::Options options = In(folder);
  Leave(options, {{9, Word(PageState::kPresent, kUsable | kDirty)}});
  const std::string table = options.directory + "/" + options.id + ".table";
  Fd fd(::open(table.c_str(), O_RDWR | O_CLOEXEC));
  for (const uint32_t format : {2u, 0u}) {
    CHECK_EQ(::pwrite(fd.get(), &format, sizeof(format), 8), 4);
    CHECK_EQ(int(MemoryFiles::Open(options).error().code), int(Code::kStateVersion));
  }
  const uint32_t ours = 1;
  CHECK_EQ(::pwrite(fd.get(), &ours, sizeof(ours), 8), 4);
  auto files = Open(options);
  CHECK(files->report().outcome == Adoption::kAdopted);
  CHECK_EQ(files->report().dirty_pages, 1u);
  CHECK_EQ(ByteAt(options, 9), 10);
}

FARPAGE_TEST(memory_files_know_a_write_of_their_own_from_somebody_elses) {
  const TemporaryFolder folder;
  MemoryFiles::Options options = In(folder);
  Leave(options, {{1, Word(PageState::kPresent, kUsable | kWriteback)}});
  Open(options)->BeginWrite();
  options.store.changed_ns++;
  auto died = Open(options);
  CHECK(died->report().outcome == Adoption::kAdopted);
  options.store.changed_ns++;
  died->EndWrite(options.store);
  died.reset();
  CHECK(Open(options)->report().outcome == Adoption::kAdopted);
  options.store.changed_ns++;
  CHECK(Open(options)->report().outcome == Adoption::kConflict);
}

}  // namespace farpage::test
