// The life of a copy that is synced atomically: a pull brings it into the file that keeps it, syncs
// of many pages go on beside, each to be found wholly or not at all by whoever comes next.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "fetched.h"
#include "stores/journal_folder.h"
#include "stores/kept_store.h"

namespace farpage::test {

// Whole runs of a pull and a short one.
inline constexpr uint64_t kCopyPages = 2 * kPrefetchRunPages + 7;
inline const uint64_t kCopySize = kCopyPages << kPageShift;

// What is known of the copy, in memory that may be shared with the process that is killed.
struct CopyTold {
  uint64_t synced = 0;  // the last sync that was told
  uint64_t begun = 0;   // the last one whose pages somebody began to write
};

using CopyPage = std::vector<uint64_t>;
inline CopyPage CopyPageOf(uint64_t word) { return CopyPage(kPageBytes / sizeof(word), word); }

// A place elsewhere that answers at once: its pages are all different, and none is a sync's.
class NumberedElsewhere final : public PageStore {
 public:
  static uint64_t WordOf(PageIndex page) { return (uint64_t{1} << 40) + page; }
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  Status Read(PageRun run, std::byte* into) override {
    CountRead(run);
    for (PageIndex page = run.first; page < run.end(); page++, into += kPageBytes) {
      std::memcpy(into, CopyPageOf(WordOf(page)).data(), kPageBytes);
    }
    return {};
  }
  Status Write(std::span<PageImage>) override { return Error{Code::kUnsupported, 0, "elsewhere"}; }
  Status MakeDurable() override { return {}; }
};

// One process after another. Each call tells its code and can be tried again.
class CopyLife {
 public:
  CopyLife(std::string folder, CopyTold* told) : folder_(std::move(folder)), told_(*told) {}
  ~CopyLife() { Stop(); }

  // Recovers what an earlier process has committed, and opens the copy, made if there is none.
  Code Start() {
    auto journal = JournalFolder::Open(folder_ + "journal");
    if (!journal.ok()) return journal.error().code;
    std::vector<RecoveredStore> done;
    Status recovered = journal.value()->Recover(
        [this](const JournalStore& store) { return OpenStore(store); }, &done);
    if (!recovered.ok()) return recovered.error().code;
    for (const RecoveredStore& store : done) {
      if (!store.outcome.ok()) return store.outcome.error().code;
    }
    auto source = std::make_unique<NumberedElsewhere>();
    auto kept = KeptStore::Open(folder_ + "store", kCopySize, true, std::move(source));
    if (!kept.ok()) return kept.error().code;
    store_ = kept.value().get();
    auto memory = StagedMemory::Create(kCopySize, store_);
    if (!memory.ok()) return memory.error().code;
    ApplianceOptions settings;
    settings.read_ahead_pages = 0;
    settings.window_bytes = kPageBytes;
    appliance_ = std::make_unique<Appliance>(settings);
    appliance_->pager.atomic_sync().UseJournal(std::move(journal).value());
    Region::Options options;
    options.size_bytes = kCopySize;
    options.writable = true;
    options.atomic = true;
    stag_ = appliance_->Use(options, std::move(kept).value(), std::move(memory).value());
    return Code::kOk;
  }

  void Stop() {
    user_.reset();
    appliance_.reset();
    store_ = nullptr;
  }

  // Which pages sync `number` writes: anybody can tell.
  static bool Writes(uint64_t number, PageIndex page) {
    return ((page * 2'654'435'761u) >> 7) % 5 == number % 5;
  }
  // What a page holds as of sync `number`.
  static uint64_t WordAsOf(uint64_t number, PageIndex page) {
    while (number != 0 && !Writes(number, page)) number--;
    return number == 0 ? NumberedElsewhere::WordOf(page) : number;
  }

  // Writes the pages of the next sync, which is under way from then on.
  Code Put() {
    const uint64_t number = told_.synced + 1;
    told_.begun = number;
    const CopyPage bytes = CopyPageOf(number);
    for (PageIndex page = 0; page < kCopyPages; page++) {
      if (!Writes(number, page)) continue;
      const Code code = Use([&] {
        return Write(*user_, stag_, page << kPageShift, bytes.data(), uint32_t(kPageBytes)).code;
      });
      if (code != Code::kOk) return code;
    }
    return Code::kOk;
  }
  Code Sync() {
    const auto synced = appliance_->Sync();
    if (!synced.ok()) return synced.error().code;
    told_.synced = told_.begun;
    return Code::kOk;
  }

  Code Get(PageIndex page, CopyPage* into) {
    return Use([&] {
      return Read(*user_, stag_, page << kPageShift, into->data(), uint32_t(kPageBytes)).code;
    });
  }

  void BeginPull() { pull_ = std::make_unique<Fetched>(*appliance_, appliance_->region); }
  Code AwaitPull() { return CodeOf(pull_->Await()); }

  // The pages are those of the last sync, or all are those of the one that was under way. From here
  // on that is what was synced.
  void CheckFound() {
    uint64_t old_pages = 0;
    uint64_t new_pages = 0;
    uint64_t strange_pages = 0;
    for (PageIndex page = 0; page < kCopyPages; page++) {
      CopyPage bytes = CopyPageOf(0);
      CHECK_EQ(int(Get(page, &bytes)), int(Code::kOk));
      const uint64_t before = WordAsOf(told_.synced, page);
      const uint64_t after = WordAsOf(told_.begun, page);
      if (bytes == CopyPageOf(after)) {
        if (before != after) new_pages++;
      } else if (bytes == CopyPageOf(before)) {
        old_pages++;
      } else {
        strange_pages++;
      }
    }
    CHECK_EQ(strange_pages, 0u);
    CHECK(old_pages == 0 || new_pages == 0);
    // Told or not, it happened; else its pages are written again, and the same bytes.
    if (old_pages == 0) told_.synced = told_.begun;
  }

  [[nodiscard]] uint64_t needed_pages() const {
    return Prefetcher::NeededPages(region(), {0, kCopyPages});
  }
  [[nodiscard]] Region& region() const { return *appliance_->region; }
  [[nodiscard]] Appliance& appliance() { return *appliance_; }
  [[nodiscard]] PrefetchReport pulled() { return pull_->Await(); }

 private:
  // What a power loss has left is another file than the one that the journal names.
  [[nodiscard]] Result<std::unique_ptr<PageStore>> OpenStore(const JournalStore& store) const {
    if (store.path == folder_ + "store") return JournalFolder::OpenNamed(store);
    auto file = FileStore::Open({folder_ + "store", store.offset_bytes, store.size_bytes, true});
    if (!file.ok()) return file.error();
    return std::unique_ptr<PageStore>(std::move(file).value());
  }
  template <typename Attempt>
  Code Use(Attempt attempt) {
    if (user_ == nullptr) user_ = appliance_->Connect(false, false, 8);
    const Code code = attempt();
    if (code != Code::kOk) user_.reset();
    return code;
  }

  const std::string folder_;
  CopyTold& told_;
  std::unique_ptr<Fetched> pull_;
  KeptStore* store_ = nullptr;
  uint32_t stag_ = 0;
  std::unique_ptr<Appliance> appliance_;  // goes before what its calls need
  std::unique_ptr<Initiator> user_;
};

}  // namespace farpage::test
