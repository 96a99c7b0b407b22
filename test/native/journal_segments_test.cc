// A journal of several files: which sync comes first, and what is refused.
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>

#include "appliance_fixture.h"
#include "check.h"
#include "memory_journal.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

const uint64_t kStoreBytes = 4 * kPageBytes;

// Syncs of one page each, in the files of a journal in memory.
struct Segments {
  Segments() {
    for (uint64_t n = 0; n < names.size(); n++) {
      names[n] = {"/store-" + std::to_string(n), 1, n + 1, 0, kStoreBytes};
      stores[n].resize(kStoreBytes);
    }
  }
  Result<std::unique_ptr<JournalFolder>> Open(JournalDamage* damage = nullptr) {
    return JournalFolder::Over(folder.File("journal"), files.Opener(), damage);
  }
  // Page 2 of a store is to become `word`.
  void Commit(JournalFolder& journal, JournalSegment* segment, size_t store, uint64_t word) {
    Journal& to = *segment->journal;
    CHECK(to.Begin({&names[store], 1}, 1, journal.NextSequence()).ok());
    FillPage(to.Slot(), word);
    CHECK(to.Add(0, 2, Crc32c(0, {to.Slot(), kPageBytes})).ok() && to.Commit().ok());
  }
  // Sync 1 of store 0 is in the first file, sync 2 of store 1 in the second.
  void CommitBoth() {
    auto journal = Open();
    JournalSegment* const first = journal.value()->Take().value();
    Commit(*journal.value(), first, 0, kWord);
    Commit(*journal.value(), journal.value()->Take().value(), 1, kWord + 1);
  }
  Status Recover(JournalFolder& journal) {
    for (Bytes& bytes : stores) std::fill(bytes.begin(), bytes.end(), std::byte{0});
    done.clear();
    return journal.Recover(
        [this](const JournalStore& store) {
          const size_t n = store.inode - 1;
          return Result<std::unique_ptr<PageStore>>(
              std::make_unique<RecordingStore>(&stores[n], &names[n]));
        },
        &done);
  }
  bool Has(size_t store, uint64_t word) const {
    return IsFilledWith(stores[store].data() + 2 * kPageBytes, word);
  }
  journal_format::Head Head(size_t segment, size_t slot) const {
    journal_format::Head head{};
    std::memcpy(&head, files.segments[segment].data() + slot * kPageBytes, sizeof(head));
    return head;
  }
  void PutHead(size_t segment, size_t slot, journal_format::Head head) {
    head.checksum = journal_format::Sum(head);
    std::memcpy(files.segments[segment].data() + slot * kPageBytes, &head, sizeof(head));
  }
  [[nodiscard]] std::string MarkOf(size_t segment) const {
    return folder.File("journal") + (segment == 0 ? "" : "-segment-1") + ".begun";
  }
  void SetBegun(size_t segment) const { std::ofstream(MarkOf(segment)).close(); }
  void RemoveMarks() const {
    for (const size_t segment : {0, 1}) ::unlink(MarkOf(segment).c_str());
  }

  static constexpr uint64_t kWord = 0x0909090909090909;  // no byte of it is zero
  TemporaryFolder folder;
  MemoryJournal files;
  std::array<JournalStore, 2> names;
  std::array<Bytes, 2> stores;
  std::vector<RecoveredStore> done;
};

}  // namespace

FARPAGE_TEST(journal_segments_are_recovered_in_the_order_of_their_syncs) {
  Segments test;
  {
    auto journal = test.Open();
    REQUIRE(journal.ok());
    JournalSegment* const first = journal.value()->Take().value();
    JournalSegment* const second = journal.value()->Take().value();
    // One store in both, the older sync in the second file.
    test.Commit(*journal.value(), second, 0, 11);
    test.Commit(*journal.value(), first, 0, 12);
  }
  auto journal = test.Open();
  REQUIRE(journal.ok());
  CHECK(test.Recover(*journal.value()).ok());
  CHECK_EQ(test.done.size(), 2u);
  CHECK(test.Has(0, 12));
  CHECK_EQ(journal.value()->NextSequence(), 3u);
  // Once.
  CHECK(test.Recover(*test.Open().value()).ok());
  CHECK(test.done.empty());
}

// What is damaged is told by the name of its file, and nothing of any file is applied.
FARPAGE_TEST(journal_segment_with_a_flipped_bit_is_refused_by_name_or_does_no_harm) {
  Segments test;
  test.CommitBoth();
  const char* const suffix[] = {"", "-segment-1"};
  for (const size_t segment : {0, 1}) {
    uint64_t refused = 0;
    Bytes& bytes = test.files.segments[segment];
    for (size_t at = 0; at < bytes.size(); at += at % kPageBytes < 64 ? 1 : 127) {
      const auto before = test.files.segments;
      bytes[at] ^= static_cast<std::byte>(1u << (at % 8));
      JournalDamage damage;
      auto journal = test.Open(&damage);
      if (journal.ok()) {
        CHECK(test.Recover(*journal.value()).ok());
        CHECK(test.Has(0, Segments::kWord) && test.Has(1, Segments::kWord + 1));
      } else {
        refused++;
        CHECK_EQ(int(journal.error().code), int(Code::kIo));
        CHECK(damage.path == test.folder.File("journal") + suffix[segment]);
      }
      test.files.segments = before;
    }
    CHECK(refused > kPageBytes / 127);
  }
}

// A stream of the second file that is cut never happened, unless its head calls it committed.
FARPAGE_TEST(journal_segment_that_is_torn_never_happened) {
  Segments test;
  test.CommitBoth();
  const auto whole = test.files.segments;
  const size_t newest = test.Head(1, 0).serial > test.Head(1, 1).serial ? 0 : 1;
  for (size_t length = 2 * kPageBytes; length < whole[1].size(); length += 1001) {
    test.files.segments = whole;
    test.files.segments[1].resize(length);
    CHECK(!test.Open().ok());
    std::memset(test.files.segments[1].data() + newest * kPageBytes, 0, kPageBytes);
    auto journal = test.Open();
    REQUIRE(journal.ok());
    CHECK(test.Recover(*journal.value()).ok());
    CHECK_EQ(test.done.size(), 1u);
    CHECK(test.Has(0, Segments::kWord) && test.Has(1, 0));
    // A number of which anything is left is not used again.
    CHECK_EQ(journal.value()->NextSequence(), length < 3 * kPageBytes ? 2u : 3u);
  }
}

FARPAGE_TEST(journal_segment_of_a_newer_version_is_refused) {
  Segments test;
  test.CommitBoth();
  journal_format::Head head = test.Head(1, 0);
  head.format = journal_format::kFormat + 1;
  test.PutHead(1, 0, head);
  const auto before = test.files.segments;
  auto journal = test.Open();
  CHECK(!journal.ok() && journal.error().code == Code::kStateVersion);
  CHECK(test.files.segments == before);
}

// The first version knew of one file only: its journals are recovered, and from the first sync on
// it refuses what is here.
FARPAGE_TEST(journal_of_the_first_version_is_recovered_and_becomes_one_of_this) {
  Segments test;
  {
    auto journal = test.Open();
    test.Commit(*journal.value(), journal.value()->Take().value(), 0, 5);
  }
  for (const size_t slot : {0, 1}) {
    journal_format::Head head = test.Head(0, slot);
    head.format = 1;
    test.PutHead(0, slot, head);
  }
  const Bytes first = test.files.segments[0];
  auto journal = test.Open();
  REQUIRE(journal.ok());
  CHECK(test.Recover(*journal.value()).ok());
  CHECK(test.Has(0, 5));
  // A retired one as well, before the first sync of this version is in any file.
  journal_format::Head retired = test.Head(0, 0);
  if (test.Head(0, 1).serial > retired.serial) retired = test.Head(0, 1);
  CHECK_EQ(retired.committed, 0u);
  retired.format = 1;
  test.files.segments[0] = first;
  test.PutHead(0, retired.serial % 2, retired);
  journal = test.Open();
  REQUIRE(journal.ok());
  JournalSegment* const segment = journal.value()->Take().value();
  CHECK(segment->journal->Begin({&test.names[0], 1}, 1, journal.value()->NextSequence()).ok());
  CHECK_EQ(std::max(test.Head(0, 0).format, test.Head(0, 1).format), journal_format::kFormat);
}

// Of the first or the second file, while its sync is committed and when it is retired.
FARPAGE_TEST(journal_without_heads_is_refused_once_a_sync_has_begun_in_it) {
  for (const bool retired : {false, true}) {
    for (const size_t segment : {0, 1}) {
      Segments test;
      test.CommitBoth();
      if (retired) CHECK(test.Recover(*test.Open().value()).ok());
      const Bytes whole = test.files.segments[segment];
      Bytes headless = whole;
      std::memset(headless.data(), 0, 2 * kPageBytes);
      Bytes garbage = whole;
      std::memset(garbage.data(), 0x5a, 2 * kPageBytes);
      // The last one is a file that is not there.
      for (const Bytes& left : {headless, garbage, Bytes(whole.size()), Bytes()}) {
        test.files.segments[segment] = left;
        JournalDamage damage{"", 1};
        auto journal = test.Open(&damage);
        CHECK(!journal.ok() && journal.error().code == Code::kIo);
        CHECK(damage.path == test.folder.File("journal") + (segment == 0 ? "" : "-segment-1"));
        CHECK_EQ(damage.at, 0u);
        CHECK(test.files.segments[segment] == left);
      }
    }
  }
}

// Whatever a crash leaves of a journal that is being made is a new one.
FARPAGE_TEST(journal_half_made_is_a_new_one) {
  const uint64_t head_bytes = sizeof(journal_format::Head);
  Segments made;
  made.CommitBoth();
  const Bytes whole = made.files.segments[0];
  REQUIRE(whole.size() >= kPageBytes + head_bytes);
  const bool marked[] = {false, true};
  for (const size_t segment : {0, 1}) {
    for (uint64_t written = 0; written <= head_bytes; written++) {
      for (const bool begun : marked) {
        // The mark comes behind the head.
        if (begun && written < head_bytes) continue;
        Segments test;
        Bytes& bytes = test.files.segments[segment];
        bytes.resize(9 * kPageBytes);
        std::memcpy(bytes.data() + kPageBytes, whole.data() + kPageBytes, written);
        if (begun) test.SetBegun(segment);
        test.CommitBoth();
        auto journal = test.Open();
        REQUIRE(journal.ok());
        CHECK(test.Recover(*journal.value()).ok());
        CHECK(test.Has(0, Segments::kWord) && test.Has(1, Segments::kWord + 1));
      }
    }
  }
}

// Who wrote it before there were marks: a first sync whose head was still to come is recovered, a
// later one, or one that is older than what another file has, is not taken for it.
FARPAGE_TEST(journal_without_marks_and_heads_is_recovered_where_nothing_is_newer) {
  Segments test;
  test.CommitBoth();
  const auto both = test.files.segments;
  test.RemoveMarks();
  test.files.segments[1].clear();
  std::memset(test.files.segments[0].data(), 0, 2 * kPageBytes);
  auto journal = test.Open();
  REQUIRE(journal.ok());
  CHECK(test.Recover(*journal.value()).ok());
  CHECK(test.Has(0, Segments::kWord) && test.done.size() == 1);
  for (const size_t segment : {0, 1}) {
    test.RemoveMarks();
    test.files.segments = both;
    std::memset(test.files.segments[segment].data(), 0, 2 * kPageBytes);
    JournalDamage damage;
    CHECK(!test.Open(&damage).ok());
    CHECK(damage.path == test.folder.File("journal") + (segment == 0 ? "" : "-segment-1"));
  }
}

// The head that says "committed" is the second one, and what is damaged takes its sync along.
FARPAGE_TEST(journal_that_was_cut_or_blanked_loses_no_committed_sync_silently) {
  Segments test;
  {
    auto journal = test.Open();
    JournalSegment* const segment = journal.value()->Take().value();
    test.Commit(*journal.value(), segment, 0, 7);
    CHECK(journal.value()->Finish(segment).ok());
    test.Commit(*journal.value(), segment, 0, 8);
  }
  // As after a commit that had failed: one head more, so places are changed.
  journal_format::Head committed = test.Head(0, 0);
  journal_format::Head retired = test.Head(0, 1);
  REQUIRE(committed.committed == 1 && committed.serial == retired.serial + 1);
  committed.serial++;
  retired.serial++;
  test.PutHead(0, 0, retired);
  test.PutHead(0, 1, committed);
  const Bytes whole = test.files.segments[0];
  CHECK(test.Open().value()->Recover([](const JournalStore&) {
    return Result<std::unique_ptr<PageStore>>(Error{Code::kFileNotFound, 0, "none"});
  }, &test.done).ok());
  Bytes blanked = whole;
  std::memset(blanked.data() + kPageBytes, 0, 2 * kPageBytes);
  for (const Bytes& left : {Bytes(whole.begin(), whole.begin() + 4096), blanked}) {
    test.files.segments[0] = left;
    JournalDamage damage;
    auto journal = test.Open(&damage);
    CHECK(!journal.ok() && journal.error().code == Code::kIo);
    CHECK(damage.path == test.folder.File("journal"));
    CHECK(test.files.segments[0] == left);
  }
}

// Names that a killed process has left are made durable before anything is done upon them.
FARPAGE_TEST(journal_opens_no_names_that_a_power_loss_may_change) {
  TemporaryFolder folder;
  const std::string path = folder.File("journal");
  REQUIRE(JournalFolder::Open(path).ok());
  {
    const CallFault fault(folder.File(""), kCallSync, 1, EIO);
    CHECK(!JournalFolder::Open(path).ok());
  }
  CHECK(JournalFolder::Open(path).ok());
}

// The head that says "retired" is gone, and the one before it says "committed".
FARPAGE_TEST(journal_with_one_head_brings_no_old_sync_back_over_a_newer_one) {
  Segments test;
  {
    auto journal = test.Open();
    JournalFolder& folder = *journal.value();
    JournalSegment* const first = folder.Take().value();
    test.Commit(folder, first, 1, 7);
    JournalSegment* const second = folder.Take().value();
    test.Commit(folder, second, 0, 11);
    CHECK(folder.Finish(first).ok() && folder.Finish(second).ok());
    test.Commit(folder, first, 0, 12);
    CHECK(folder.Finish(first).ok());
  }
  const auto whole = test.files.segments;
  for (const size_t segment : {0, 1}) {
    test.files.segments = whole;
    const size_t newest = test.Head(segment, 0).serial > test.Head(segment, 1).serial ? 0 : 1;
    std::memset(test.files.segments[segment].data() + newest * kPageBytes, 0, kPageBytes);
    auto journal = test.Open();
    // The newest sync of all may come once more.
    CHECK_EQ(journal.ok(), segment == 0);
    if (!journal.ok()) continue;
    CHECK(test.Recover(*journal.value()).ok());
    CHECK(test.Has(0, 12));
  }
}

}  // namespace farpage::test
