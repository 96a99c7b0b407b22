// The redo journal: what counts as committed, what as torn, what as damaged.
#include <array>
#include <cstdio>

#include "appliance_fixture.h"
#include "check.h"
#include "environment.h"
#include "recording.h"
#include "stores/journal_folder.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

constexpr uint64_t kStorePages = 12;

JournalStore NameOf(const std::string& path, uint64_t inode) {
  return {path, 1, inode, 0, kStorePages << kPageShift};
}

// One sync of `pages` in two stores, each page filled with `word`; begun and filled, not committed.
Status Fill(Journal& journal, const std::vector<JournalStore>& stores, uint64_t word,
            const std::vector<std::pair<uint32_t, PageIndex>>& pages) {
  if (Status begun = journal.Begin(stores, pages.size()); !begun.ok()) return begun;
  for (const auto& [store, page] : pages) {
    FillPage(journal.Slot(), word);
    const uint32_t sum = Crc32c(0, {journal.Slot(), kPageBytes});
    if (Status added = journal.Add(store, page, sum); !added.ok()) return added;
  }
  return {};
}

std::unique_ptr<Journal> Reopen(Bytes* bytes, Code* code, uint64_t* damaged_at = nullptr) {
  auto opened = Journal::Open(std::make_unique<MemoryJournalFile>(bytes), damaged_at);
  *code = opened.ok() ? Code::kOk : opened.error().code;
  return opened.ok() ? std::move(opened).value() : nullptr;
}

// No byte of it is zero.
constexpr uint64_t kWord = 0x0909090909090909;

const std::vector<JournalStore> kTwo = {NameOf("/a", 10), NameOf("/b", 11)};
const std::vector<std::pair<uint32_t, PageIndex>> kThreePages = {{1, 7}, {0, 3}, {0, 4}};

// Every byte where blocks begin, where their heads and entries are, and one in 31 of the rest.
bool WorthALook(uint64_t at) { return at % kPageBytes < 160 || at % 31 == 0; }

bool HoldsThreePages(const Journal& journal, uint64_t word) {
  if (!journal.committed() || journal.stores() != kTwo || journal.pages().size() != 3) return false;
  for (const JournalPage& page : journal.pages()) {
    if (!IsFilledWith(journal.Bytes(page), word)) return false;
  }
  return journal.pages()[0].page == 3 && journal.pages()[1].page == 4 &&
         journal.pages()[2].page == 7 && journal.pages()[2].store == 1;
}

}  // namespace

FARPAGE_TEST(journal_gives_back_a_committed_sync_and_no_other) {
  Bytes bytes;
  Code code = Code::kOk;
  auto journal = Reopen(&bytes, &code);
  REQUIRE(journal != nullptr);
  CHECK(!journal->committed());
  CHECK(Fill(*journal, kTwo, 5, kThreePages).ok());
  CHECK(!Reopen(&bytes, &code)->committed());
  CHECK(journal->Commit().ok());
  CHECK(HoldsThreePages(*Reopen(&bytes, &code), 5));
  Bytes first(kStorePages << kPageShift);
  JournalStore name = kTwo[0];
  RecordingStore store(&first, &name);
  CHECK(journal->Apply(0, store).ok());
  CHECK(IsFilledWith(first.data() + 4 * kPageBytes, 5));
  CHECK(IsFilledWith(first.data() + 2 * kPageBytes, 0));
  CHECK(journal->Retire().ok());
  CHECK(!Reopen(&bytes, &code)->committed());
  // The next one takes its place, and a short one leaves nothing of a long one behind.
  CHECK(Fill(*journal, kTwo, 6, {{0, 1}}).ok());
  CHECK(!Reopen(&bytes, &code)->committed());
  CHECK(journal->Commit().ok());
  auto found = Reopen(&bytes, &code);
  CHECK_EQ(found->pages().size(), 1u);
  CHECK_EQ(found->sequence(), 2u);
}

FARPAGE_TEST(journal_holds_more_than_one_chunk_and_a_partial_page) {
  Bytes bytes;
  Code code = Code::kOk;
  auto journal = Reopen(&bytes, &code);
  const uint64_t pages = 2 * journal_format::kChunkPagesMax + 3;
  JournalStore name{"/large", 1, 2, 0, (pages << kPageShift) - 100};
  std::vector<std::pair<uint32_t, PageIndex>> all;
  for (PageIndex page = 0; page < pages; page++) all.emplace_back(0, page);
  CHECK(Fill(*journal, {name}, kWord, all).ok());
  CHECK(journal->Commit().ok());
  auto found = Reopen(&bytes, &code);
  CHECK_EQ(found->pages().size(), pages);
  Bytes to(name.size_bytes + 200);
  RecordingStore store(&to, &name);
  CHECK(found->Apply(0, store).ok());
  CHECK(IsFilledWith(to.data() + (pages - 2) * kPageBytes, kWord));
  CHECK(to[name.size_bytes - 8] != std::byte{0});
  CHECK(to[name.size_bytes] == std::byte{0});  // to the byte, and no further
}

FARPAGE_TEST(journal_cut_at_any_byte_is_committed_or_refused_or_never_was) {
  Bytes bytes;
  Code code = Code::kOk;
  auto journal = Reopen(&bytes, &code);
  CHECK(Fill(*journal, kTwo, 5, kThreePages).ok());
  const uint64_t first_end = bytes.size();
  CHECK(journal->Commit().ok());
  const Bytes committed = bytes;
  uint64_t refused = 0;
  uint64_t looks = 0;
  for (size_t length = 2 * kPageBytes; length <= committed.size(); length++) {
    if (!WorthALook(length) && length != committed.size()) continue;
    looks++;
    Bytes cut(committed.begin(), committed.begin() + ptrdiff_t(length));
    uint64_t at = 0;
    auto found = Reopen(&cut, &code, &at);
    if (found != nullptr) {
      CHECK(HoldsThreePages(*found, 5));
      continue;
    }
    CHECK_EQ(int(code), int(Code::kIo));
    CHECK(at >= 2 * kPageBytes && at <= committed.size());
    refused++;
  }
  CHECK_EQ(refused, looks - 1);  // all but the whole
  // The same without the head that calls it committed: what is cut never happened.
  std::memset(bytes.data(), 0, 2 * kPageBytes);
  std::memcpy(bytes.data() + kPageBytes, committed.data() + kPageBytes, kPageBytes);
  for (size_t length = 2 * kPageBytes; length < committed.size(); length += 97) {
    Bytes cut(bytes.begin(), bytes.begin() + ptrdiff_t(length));
    auto found = Reopen(&cut, &code);
    REQUIRE(found != nullptr);
    CHECK(!found->committed());
  }
  CHECK(HoldsThreePages(*Reopen(&bytes, &code), 5));  // whole: only its head was lost
  CHECK(first_end < committed.size());
}

FARPAGE_TEST(journal_flipped_bit_is_refused_or_does_no_harm) {
  Bytes bytes;
  Code code = Code::kOk;
  auto journal = Reopen(&bytes, &code);
  CHECK(Fill(*journal, kTwo, 5, kThreePages).ok());
  CHECK(journal->Commit().ok());
  std::mt19937_64 random(7);
  uint64_t refused = 0;
  for (size_t at = 0; at < bytes.size(); at++) {
    if (!WorthALook(at)) continue;
    const auto bit = static_cast<std::byte>(1u << (random() % 8));
    bytes[at] ^= bit;
    const Bytes before = bytes;
    auto found = Reopen(&bytes, &code);
    if (found == nullptr) {
      CHECK_EQ(int(code), int(Code::kIo));
      refused++;
    } else if (!HoldsThreePages(*found, 5)) {
      Fail(__FILE__, __LINE__, "a flipped bit at " + std::to_string(at) + " went unnoticed");
    }
    CHECK(bytes == before);  // nothing is overwritten
    bytes[at] ^= bit;
  }
  CHECK(refused > 3 * kPageBytes / 31);
}

FARPAGE_TEST(journal_of_another_version_is_refused) {
  Bytes bytes;
  Code code = Code::kOk;
  auto journal = Reopen(&bytes, &code);
  CHECK(Fill(*journal, kTwo, 5, kThreePages).ok());
  journal_format::Head head{journal_format::kMagic, journal_format::kFormat + 1,
                            static_cast<uint32_t>(kPageBytes), 9, 9, 0, 0, 0};
  head.checksum = journal_format::Sum(head);
  std::memcpy(bytes.data(), &head, sizeof(head));
  CHECK(Reopen(&bytes, &code) == nullptr);
  CHECK_EQ(int(code), int(Code::kStateVersion));
  Bytes nonsense(5 * kPageBytes, std::byte{0x5a});
  std::memcpy(nonsense.data() + 2 * kPageBytes, &journal_format::kStoresMark, 8);
  CHECK(Reopen(&nonsense, &code) == nullptr);
  CHECK_EQ(int(code), int(Code::kIo));
}

// Whatever call fails, a sync that was said to be committed is found again, and one that failed
// is found whole or not at all; the next one works.
FARPAGE_TEST(journal_nth_call_fails_and_the_next_sync_works) {
  for (const int error : {EIO, ENOSPC}) {
    uint64_t nth = 1;
    for (bool reached = true; reached; nth++) {
      Bytes bytes;
      auto file = std::make_unique<MemoryJournalFile>(&bytes);
      MemoryJournalFile& told = *file;
      auto journal = std::move(Journal::Open(std::move(file))).value();
      CHECK(Fill(*journal, kTwo, 1, kThreePages).ok() && journal->Commit().ok());
      CHECK(journal->Retire().ok());
      told.fails_at = nth;
      told.error = error;
      Status outcome = Fill(*journal, kTwo, 2, kThreePages);
      if (outcome.ok()) outcome = journal->Commit();
      Code code = Code::kOk;
      if (outcome.ok()) {
        CHECK(HoldsThreePages(*Reopen(&bytes, &code), 2));
        outcome = journal->Retire();
        if (!outcome.ok()) CHECK(journal->committed() && journal->Retire().ok());
      } else {
        CHECK_EQ(int(outcome.error().code), int(CodeOfErrno(error)));
        journal->GiveUp();
        auto found = Reopen(&bytes, &code);
        CHECK(found != nullptr && !found->committed());
      }
      reached = told.fails_at == 0;
      told.fails_at = 0;
      CHECK(Fill(*journal, kTwo, 3, kThreePages).ok() && journal->Commit().ok());
      CHECK(HoldsThreePages(*Reopen(&bytes, &code), 3));
    }
    CHECK(nth > 6);
  }
}

FARPAGE_TEST(journal_without_room_changes_nothing) {
  Bytes bytes;
  auto file = std::make_unique<MemoryJournalFile>(&bytes);
  MemoryJournalFile& told = *file;
  auto journal = std::move(Journal::Open(std::move(file))).value();
  CHECK(Fill(*journal, kTwo, 1, kThreePages).ok() && journal->Commit().ok());
  CHECK(journal->Retire().ok());
  told.room = 4 * kPageBytes;
  const Bytes before = bytes;
  const Status begun = journal->Begin(kTwo, 1000);
  CHECK(!begun.ok() && begun.error().code == Code::kNoSpace);
  CHECK(bytes == before);
  told.room = ~uint64_t{0};
  CHECK(Fill(*journal, kTwo, 2, kThreePages).ok());
}

// A store that is away must not keep the others from their pages: its part waits by name.
FARPAGE_TEST(journal_folder_keeps_the_part_of_a_store_that_is_away) {
  const TemporaryFolder folder;
  const std::string path = folder.File("journal");
  Bytes here(kStorePages << kPageShift);
  Bytes away(kStorePages << kPageShift);
  std::vector<JournalStore> names = kTwo;
  {
    auto opened = JournalFolder::Open(path);
    REQUIRE(opened.ok());
    Journal& journal = *opened.value()->Take().value()->journal;
    CHECK(Fill(journal, names, 5, kThreePages).ok() && journal.Commit().ok());
  }
  const OpenJournalStore only_a = [&](const JournalStore& store) {
    if (store.path != "/a") {
      return Result<std::unique_ptr<PageStore>>(Error{Code::kFileNotFound, ENOENT, "away"});
    }
    return Result<std::unique_ptr<PageStore>>(std::make_unique<RecordingStore>(&here, &names[0]));
  };
  for (int start = 0; start < 2; start++) {
    auto opened = JournalFolder::Open(path);
    REQUIRE(opened.ok());
    std::vector<RecoveredStore> done;
    CHECK(opened.value()->Recover(only_a, &done).ok());
    CHECK_EQ(done.size(), start == 0 ? 2u : 1u);
    CHECK(IsFilledWith(here.data() + 3 * kPageBytes, 5));
    CHECK_EQ(opened.value()->Waiting().size(), 1u);
    // Another file under the same name is refused, and so is a part of it.
    JournalStore other = names[1];
    other.inode = 99;
    RecordingStore wrong(&away, &other);
    const Status refused = opened.value()->Admit(other, wrong);
    CHECK(!refused.ok() && refused.error().code == Code::kFileChanged);
    CHECK(opened.value()->Admit(names[0], wrong).ok());
  }
  auto opened = JournalFolder::Open(path);
  RecordingStore back(&away, &names[1]);
  back.fails_at = 1;
  CHECK(!opened.value()->Admit(names[1], back).ok());
  CHECK(opened.value()->Admit(names[1], back).ok());
  CHECK(IsFilledWith(away.data() + 7 * kPageBytes, 5));
  CHECK(opened.value()->Waiting().empty());
  CHECK(JournalFolder::Open(path).value()->Waiting().empty());
}

FARPAGE_TEST(journal_folder_forgets_what_is_abandoned_by_name) {
  const TemporaryFolder folder;
  const std::string path = folder.File("journal");
  auto opened = JournalFolder::Open(path);
  REQUIRE(opened.ok());
  JournalSegment* const segment = opened.value()->Take().value();
  CHECK(Fill(*segment->journal, kTwo, 5, kThreePages).ok() && segment->journal->Commit().ok());
  segment->unwritten = {0, 1};
  CHECK(opened.value()->Finish(segment).ok());
  CHECK_EQ(opened.value()->Waiting().size(), 2u);
  CHECK_EQ(opened.value()->Abandon("/a").value(), 2u);
  CHECK_EQ(opened.value()->Abandon("/nobody").value(), 0u);
  CHECK_EQ(JournalFolder::Open(path).value()->Waiting().size(), 1u);
}

// Until its end is durable a part may come back: nobody has the store before.
FARPAGE_TEST(journal_folder_waits_for_a_part_until_its_end_is_durable) {
  const TemporaryFolder folder;
  auto opened = JournalFolder::Open(folder.File("journal"));
  REQUIRE(opened.ok());
  JournalFolder& journal = *opened.value();
  JournalSegment* const segment = journal.Take().value();
  CHECK(Fill(*segment->journal, kTwo, 5, kThreePages).ok() && segment->journal->Commit().ok());
  segment->unwritten = {0, 1};
  CHECK(journal.Finish(segment).ok());
  Bytes bytes(kStorePages << kPageShift);
  JournalStore name = kTwo[0];
  RecordingStore store(&bytes, &name);
  {
    const CallFault fault(folder.File(""), kCallSync, 1, EIO);
    const Status failed = journal.Admit(name, store);
    CHECK(!failed.ok() && failed.error().code == Code::kIo);
  }
  CHECK_EQ(journal.Waiting().size(), 2u);
  CHECK(IsFilledWith(bytes.data() + 3 * kPageBytes, 5));
  CHECK(journal.Admit(name, store).ok());
  CHECK_EQ(journal.Waiting().size(), 1u);
  {
    const CallFault fault(folder.File(""), kCallSync, 1, EIO);
    CHECK(!journal.Abandon("/b").ok());
  }
  CHECK_EQ(journal.Waiting().size(), 1u);
  CHECK_EQ(journal.Abandon("/b").value(), 1u);
  CHECK(journal.Waiting().empty());
}

// Power goes at every moment of some syncs: what had a barrier behind it is there, of the rest
// any sectors. After recovery every store has the last sync that was retired, or the one after.
FARPAGE_TEST(journal_power_loss_leaves_the_old_or_the_new_sync) {
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", 20261125);
  std::mt19937_64 random(seed);
  constexpr uint64_t kSyncs = 5;
  constexpr int kLossesEach = 12;
  Recording recording;
  std::vector<JournalStore> names = kTwo;
  std::array<Bytes, 2> stores = {Bytes(kStorePages << kPageShift),
                                 Bytes(kStorePages << kPageShift)};
  std::vector<std::array<Bytes, 2>> states = {stores};
  std::vector<size_t> promised = {0};  // event after which each sync had been told
  Bytes bytes;
  auto file = std::make_unique<MemoryJournalFile>(&bytes, &recording, 2);
  auto journal = std::move(Journal::Open(std::move(file))).value();
  RecordingStore a(&stores[0], &names[0], &recording, 0);
  RecordingStore b(&stores[1], &names[1], &recording, 1);
  for (uint64_t sync = 1; sync <= kSyncs; sync++) {
    std::vector<std::pair<uint32_t, PageIndex>> pages;
    for (uint32_t store = 0; store < 2; store++) {
      for (PageIndex page = 0; page < kStorePages; page++) {
        if (random() % 3 == 0 || page == sync) pages.emplace_back(store, page);
      }
    }
    CHECK(Fill(*journal, names, sync, pages).ok() && journal->Commit().ok());
    CHECK(journal->Apply(0, a).ok() && journal->Apply(1, b).ok());
    CHECK(journal->Retire().ok());
    states.push_back(stores);
    promised.push_back(recording.size());
  }
  uint64_t losses = 0;
  for (size_t count = 0; count <= recording.size(); count++) {
    size_t told = 0;
    while (told < kSyncs && promised[told + 1] <= count) told++;
    for (int n = 0; n < kLossesEach; n++, losses++) {
      std::array<Bytes, 2> left;
      for (int store = 0; store < 2; store++) {
        const Bytes blank(kStorePages << kPageShift);
        left[size_t(store)] = recording.AfterPowerLoss(store, count, blank, random);
      }
      Bytes journaled = recording.AfterPowerLoss(2, count, {}, random);
      auto found = Journal::Open(std::make_unique<MemoryJournalFile>(&journaled));
      if (!found.ok()) {
        Fail(__FILE__, __LINE__, "refused after a power loss, seed " + std::to_string(seed));
        return;
      }
      for (uint32_t store = 0; found.value()->committed() && store < 2; store++) {
        RecordingStore to(&left[store], &names[store]);
        CHECK(found.value()->Apply(store, to).ok());
      }
      const bool fine = left == states[told] || (told < kSyncs && left == states[told + 1]);
      if (!fine) {
        Fail(__FILE__, __LINE__, "a mix after event " + std::to_string(count) + ", seed " +
                                     std::to_string(seed));
        return;
      }
    }
  }
  std::printf("%llu power losses over %zu events, seed %llu\n",
              static_cast<unsigned long long>(losses), recording.size(),
              static_cast<unsigned long long>(seed));
}

}  // namespace farpage::test
