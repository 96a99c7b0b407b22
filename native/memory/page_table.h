// The page table of one region: words, summaries and counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/page.h"
#include "base/result.h"
#include "memory/memory_files.h"
#include "memory/page_state.h"
#include "memory/table_pages.h"
#include "memory/use_clock.h"
#include "os/mapping.h"

namespace farpage {

// Pages one summary bit speaks for: 4 KiB of words, 4 MiB of region.
inline constexpr uint64_t kSummaryPages = 1024;

// A bit per kSummaryPages pages, so that sweeps cost what there is, not what could be. A set bit
// means "look"; a clear one means there was nothing when the sweep began. Thread: any.
class Summary {
 public:
  static Result<Summary> Create(uint64_t pages);
  // Of nothing.
  Summary() = default;

  // Set after the word, and in one total order with Clear (seq_cst: store word, load bit against
  // clear bit, load word), so that a sweep that clears first and scans then misses nothing.
  void Set(PageIndex page) {
    const uint64_t chunk = page / kSummaryPages;
    auto& word = words_[chunk / 64];
    const uint64_t bit = uint64_t{1} << (chunk % 64);
    if ((word.load(std::memory_order_seq_cst) & bit) == 0) {
      word.fetch_or(bit, std::memory_order_seq_cst);
    }
  }
  [[nodiscard]] bool Has(PageIndex page) const {
    const uint64_t chunk = page / kSummaryPages;
    return (words_[chunk / 64].load(std::memory_order_acquire) >> (chunk % 64) & 1) != 0;
  }
  void Clear(uint64_t chunk) {
    words_[chunk / 64].fetch_and(~(uint64_t{1} << (chunk % 64)), std::memory_order_seq_cst);
    // Orders the sweep's plain loads of words behind the clearing, on every machine.
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  // The first chunk >= from whose bit is set, or `chunks()`.
  [[nodiscard]] uint64_t Next(uint64_t from) const;
  [[nodiscard]] uint64_t chunks() const { return chunks_; }

 private:
  Summary(Mapping mapping, uint64_t chunks)
      : mapping_(std::move(mapping)),
        words_(reinterpret_cast<std::atomic<uint64_t>*>(mapping_.data())),
        chunks_(chunks) {}
  Mapping mapping_;
  std::atomic<uint64_t>* words_ = nullptr;
  uint64_t chunks_ = 0;
};

// Which of two epochs writers are in: one bit for all regions whose syncs happen wholly or not at
// all. A dirty page of the other epoch is frozen: it was written before the instant of a sync that
// has not got its bytes yet. One store moves all writers of all regions. Thread: any.
class SyncEpoch {
 public:
  [[nodiscard]] PageWord Now() const { return bit_.load(std::memory_order_acquire); }
  // Thread: one at a time, with a grace period behind it.
  void Flip() { bit_.fetch_xor(kEpoch, std::memory_order_seq_cst); }

 private:
  std::atomic<PageWord> bit_{0};
};

// Words in a lazily committed mapping: a table for 1 TiB costs nothing until pages are touched.
// Thread: any; every change is a compare-and-swap through Change().
class PageTable {
 public:
  static Result<std::unique_ptr<PageTable>> Create(uint64_t pages);
  // Over words of a memory directory that have been adopted; counts and summaries are made from
  // them, in time proportional to the pages that were ever touched.
  static Result<std::unique_ptr<PageTable>> Over(std::unique_ptr<MemoryFiles> files,
                                                 uint64_t pages);

  // Makes room for the words of `run` before one of them is claimed; anonymous words need none.
  // Fails: kNoSpace. Thread: any.
  Status Reserve(PageRun run);
  [[nodiscard]] MemoryFiles* files() const { return files_.get(); }

  [[nodiscard]] uint64_t pages() const { return pages_; }
  [[nodiscard]] PageWord Load(PageIndex page) const {
    // To look at a hole of a shared file would fill it, and end in a SIGBUS where there is no room.
    if (files_ != nullptr && !reserved_.Has(page)) [[unlikely]] return 0;
    return words_[page].load(std::memory_order_acquire);
  }

  // Starts to load a word, for a Load soon.
  void Warm(PageIndex page) const { __builtin_prefetch(&words_[page]); }

  // Replaces `from` by `to` if the word is still `from` and the move is allowed (a forbidden one
  // aborts: it is our bug). Keeps the counts. On failure `from` holds the word found.
  bool Change(PageIndex page, PageWord& from, PageWord to);

  // Remembers a use for the clock hand, and lets go of HELD and AHEAD; a plain store would lose a
  // concurrent change. A page on trial passes it when it is used again: neither the use that it was
  // filled for nor the one that ends the trial is counted.
  void Use(PageIndex page, PageWord seen) {
    const PageWord trial = seen & ((seen & kUnused) != 0 ? kUnused : kTrial);
    if ((seen & (kHeld | kAhead)) != 0 || trial != 0) ClearFlags(page, kHeld | kAhead | trial);
    if (trial == 0 && (seen & kOften) == 0) {
      words_[page].fetch_or(WithUse(seen) & kUses, std::memory_order_relaxed);
    }
    if (((seen ^ UsedNow()) & kUsed) != 0) Stamp(page);
  }
  // What the word of a page that is used now says of that; it changes every kUseTickNs.
  [[nodiscard]] PageWord UsedNow() const { return clock_->Now(); }
  // Clears flags that carry no state of their own (HELD, AHEAD); returns the word before.
  PageWord ClearFlags(PageIndex page, PageWord flags) {
    if (files_ != nullptr && !reserved_.Has(page)) [[unlikely]] return 0;
    const PageWord before = words_[page].fetch_and(~flags, std::memory_order_acq_rel);
    if ((flags & kTrial) != 0 && OnTrial(before)) {
      auto& count = (before & kUnsafe) == 0 ? trial_ : dirty_trial_;
      count.fetch_sub(1, std::memory_order_relaxed);
    }
    return before;
  }

  // Sets DIRTY and WRITTEN on a page that is WRITABLE and not frozen, before its bytes are written.
  // False: the page is not writable now, fault first. Thread: any, inside a turn.
  bool MarkDirty(PageIndex page);

  // A page on trial that is written stays on trial: its bytes may go elsewhere when memory is
  // short. Requires: nobody uses the table yet.
  void KeepTrials() { over_when_written_ = kUnused; }
  [[nodiscard]] bool keeps_trials() const { return over_when_written_ == kUnused; }

  // Pages are dirty in an epoch from now on. Requires: nobody uses the table yet.
  void Follow(const SyncEpoch* epoch) { epoch_ = epoch; }
  // Pages are used by this clock from now on; those that are there were used just now. Requires:
  // nobody uses the table yet.
  void Follow(const UseClock* clock);
  // The epoch that a page becomes dirty in now.
  [[nodiscard]] PageWord Epoch() const { return epoch_->Now(); }
  // True: a dirty page that may not be written before its bytes are saved. Ask of a word that was
  // loaded before.
  [[nodiscard]] bool Frozen(PageWord word) const {
    return (word & kDirty) != 0 && ((word ^ epoch_->Now()) & kEpoch) != 0;
  }

  [[nodiscard]] uint64_t present() const { return present_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t dirty() const { return dirty_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t written() const { return written_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }
  // Clean present pages that were not used again since they were filled.
  [[nodiscard]] uint64_t trial() const { return trial_.load(std::memory_order_relaxed); }
  // Dirty ones that nobody has read since; none unless it keeps trials.
  [[nodiscard]] uint64_t dirty_trial() const {
    return dirty_trial_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] uint64_t elsewhere() const { return elsewhere_.load(std::memory_order_relaxed); }

  // Pages in memory that are dirty or being written.
  [[nodiscard]] uint64_t dirty_here() const { return dirty_here_.load(std::memory_order_relaxed); }
  // They are counted there too, from now on until null is given. Requires: nobody uses the table.
  void CountDirtyIn(std::atomic<uint64_t>* count);

  // What the table and the kernel's tables of the region cost.
  TablePages& tables() { return tables_; }
  [[nodiscard]] const TablePages& tables() const { return tables_; }
  // Gives the memory of words back that say nothing but when their pages went: a word that reads as
  // zero is one of a page that was never touched. Requires: the windows are closed, by the caller.
  void DropWords(std::span<const uint64_t> windows);

  Summary& present_summary() { return present_summary_; }
  Summary& dirty_summary() { return dirty_summary_; }
  // Pages that a word tells of though they are absent: written, stored, in a tier, lost. Its bits
  // are never cleared.
  Summary& history_summary() { return history_summary_; }

 private:
  struct Summaries {
    Summary present;
    Summary dirty;
    Summary history;
  };
  static Result<Summaries> MakeSummaries(uint64_t pages);
  PageTable(Mapping words, uint64_t states_at, Summaries summaries, uint64_t pages)
      : mapping_(std::move(words)),
        words_(reinterpret_cast<std::atomic<PageWord>*>(mapping_.data())),
        pages_(pages),
        present_summary_(std::move(summaries.present)),
        dirty_summary_(std::move(summaries.dirty)),
        history_summary_(std::move(summaries.history)),
        tables_(mapping_.data() + states_at, pages) {}
  void Count(PageWord from, PageWord to);
  void Stamp(PageIndex page);

  Mapping mapping_;  // words, unless they are in files, and the states of tables_
  std::atomic<PageWord>* words_;
  uint64_t pages_;
  Summary present_summary_;
  Summary dirty_summary_;
  Summary history_summary_;
  TablePages tables_;
  std::atomic<uint64_t> present_{0};
  std::atomic<uint64_t> dirty_{0};
  std::atomic<uint64_t> dirty_here_{0};
  std::atomic<uint64_t>* dirty_here_of_all_ = nullptr;
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> lost_{0};
  std::atomic<uint64_t> elsewhere_{0};
  static const SyncEpoch kNoEpoch;
  const SyncEpoch* epoch_ = &kNoEpoch;
  static const UseClock kNoClock;
  const UseClock* clock_ = &kNoClock;
  std::atomic<uint64_t> trial_{0};
  std::atomic<uint64_t> dirty_trial_{0};
  PageWord over_when_written_ = kTrial | kUnused;
  std::unique_ptr<MemoryFiles> files_;
  Summary reserved_;  // chunks whose words have room in the files
};

// Pages whose bytes occupy region memory; what the budget counts.
constexpr bool HoldsFrame(PageWord word) {
  switch (StateOf(word)) {
    case PageState::kFilling:
    case PageState::kPresent:
    case PageState::kEvicting:
    case PageState::kCopying: return true;
    case PageState::kAbsent:
    case PageState::kLost: return false;
  }
  return false;
}

// Words of absent pages that say more than that.
constexpr bool HasHistory(PageWord word) {
  return (word & kLastingAbsent) != 0 || StateOf(word) == PageState::kLost;
}

}  // namespace farpage
