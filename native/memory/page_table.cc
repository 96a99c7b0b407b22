#include "memory/page_table.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/check.h"
#include "os/drop_pages.h"

namespace farpage {

static_assert(sizeof(std::atomic<PageWord>) == 4 && std::atomic<PageWord>::is_always_lock_free);
static_assert(kSummaryPages * sizeof(PageWord) == 4096, "what MemoryFiles reserves at once");
static_assert(sizeof(std::atomic<uint64_t>) == 8 && std::atomic<uint64_t>::is_always_lock_free);

namespace {

// Where the states of windows begin, behind the words.
uint64_t StatesAt(uint64_t pages) {
  return (pages * sizeof(PageWord) + kPageBytes - 1) & ~(kPageBytes - 1);
}

}  // namespace

const SyncEpoch PageTable::kNoEpoch;
const UseClock PageTable::kNoClock;

Result<Summary> Summary::Create(uint64_t pages) {
  const uint64_t chunks = (pages + kSummaryPages - 1) / kSummaryPages;
  auto mapping = Mapping::Anonymous((chunks + 63) / 64 * sizeof(uint64_t));
  if (!mapping.ok()) return mapping.error();
  return Summary(std::move(mapping).value(), chunks);
}

uint64_t Summary::Next(uint64_t from) const {
  if (from >= chunks_) return chunks_;
  uint64_t index = from / 64;
  uint64_t word = words_[index].load(std::memory_order_acquire) & (~uint64_t{0} << (from % 64));
  const uint64_t count = (chunks_ + 63) / 64;
  while (word == 0) {
    if (++index == count) return chunks_;
    word = words_[index].load(std::memory_order_acquire);
  }
  return index * 64 + static_cast<uint64_t>(std::countr_zero(word));
}

Result<PageTable::Summaries> PageTable::MakeSummaries(uint64_t pages) {
  Summaries made;
  for (Summary* summary : {&made.present, &made.dirty, &made.history}) {
    auto one = Summary::Create(pages);
    if (!one.ok()) return one.error();
    *summary = std::move(one).value();
  }
  return made;
}

Result<std::unique_ptr<PageTable>> PageTable::Create(uint64_t pages) {
  auto words = Mapping::Anonymous(StatesAt(pages) + TablePages::StateBytes(pages));
  if (!words.ok()) return words.error();
  auto summaries = MakeSummaries(pages);
  if (!summaries.ok()) return summaries.error();
  return std::unique_ptr<PageTable>(new PageTable(std::move(words).value(), StatesAt(pages),
                                                  std::move(summaries).value(), pages));
}

Result<std::unique_ptr<PageTable>> PageTable::Over(std::unique_ptr<MemoryFiles> files,
                                                   uint64_t pages) {
  auto summaries = MakeSummaries(pages);
  if (!summaries.ok()) return summaries.error();
  auto reserved = Summary::Create(pages);
  if (!reserved.ok()) return reserved.error();
  auto states = Mapping::Anonymous(TablePages::StateBytes(pages));
  if (!states.ok()) return states.error();
  std::unique_ptr<PageTable> table(
      new PageTable(std::move(states).value(), 0, std::move(summaries).value(), pages));
  table->words_ = files->words();
  table->reserved_ = std::move(reserved).value();
  for (PageIndex page = files->NextTouched(0); page < pages; page = files->NextTouched(page)) {
    table->reserved_.Set(page);
    table->tables_.ChargeWords(page);
    const PageIndex end = std::min(pages, (page / kSummaryPages + 1) * kSummaryPages);
    for (; page < end; page++) {
      const PageWord word = table->words_[page].load(std::memory_order_relaxed);
      if (word == 0) continue;
      table->Count(0, word);
      if (HoldsFrame(word)) {
        table->present_summary_.Set(page);
        table->tables_.Enter(page);
      }
      if ((word & kUnsafe) != 0) table->dirty_summary_.Set(page);
      if (HasHistory(word)) table->history_summary_.Set(page);
    }
  }
  table->files_ = std::move(files);
  return table;
}

Status PageTable::Reserve(PageRun run) {
  if (files_ == nullptr) return {};
  for (PageIndex page = run.first; page < std::min(run.end(), pages_);
       page = (page / kSummaryPages + 1) * kSummaryPages) {
    if (reserved_.Has(page)) continue;
    if (Status room = files_->ReserveWords(page); !room.ok()) return room;
    reserved_.Set(page);
    tables_.ChargeWords(page);
  }
  return {};
}

bool PageTable::Change(PageIndex page, PageWord& from, PageWord to) {
  FARPAGE_CHECK(MayChange(from, to), "a page may not make this move");
  const bool enters = HoldsFrame(to) && !HoldsFrame(from);
  const bool leaves = HoldsFrame(from) && !HoldsFrame(to);
  if (enters) tables_.Enter(page);
  if (!words_[page].compare_exchange_strong(from, to, std::memory_order_seq_cst,
                                            std::memory_order_acquire)) {
    if (enters) tables_.Leave(page);
    return false;
  }
  Count(from, to);
  if (leaves) tables_.Leave(page);
  if (enters) present_summary_.Set(page);
  if ((to & kUnsafe) != 0 && (from & kUnsafe) == 0) dirty_summary_.Set(page);
  if (HasHistory(to) && !HasHistory(from)) history_summary_.Set(page);
  return true;
}

void PageTable::Follow(const UseClock* clock) {
  clock_ = clock;
  for (uint64_t chunk = present_summary_.Next(0); chunk < present_summary_.chunks();
       chunk = present_summary_.Next(chunk + 1)) {
    const PageIndex end = std::min(pages_, (chunk + 1) * kSummaryPages);
    for (PageIndex page = chunk * kSummaryPages; page < end; page++) Stamp(page);
  }
}

// Once in a tick of the clock, for each page that is used in it.
void PageTable::Stamp(PageIndex page) {
  PageWord word = Load(page);
  while ((word & kReadable) != 0) {
    const PageWord want = (word & ~kUsed) | UsedNow();
    if (words_[page].compare_exchange_weak(word, want, std::memory_order_acq_rel,
                                           std::memory_order_acquire)) {
      return;
    }
  }
}

bool PageTable::MarkDirty(PageIndex page) {
  PageWord word = Load(page);  // to look is not to take room
  for (;;) {
    if ((word & kWritable) == 0) return false;
    const PageWord epoch = epoch_->Now();
    if ((word & kDirty) != 0 && ((word ^ epoch) & kEpoch) != 0) return false;
    const PageWord rest = word & ~(kEpoch | over_when_written_ | kUsed);
    const PageWord want = rest | epoch | kDirty | kWritten | kAccessed | UsedNow();
    if (word == want) {
      // Who made it dirty may not have come to the summary yet; a sync that this writer asks for
      // next must find the page all the same.
      dirty_summary_.Set(page);
      return true;
    }
    if (words_[page].compare_exchange_weak(word, want, std::memory_order_seq_cst,
                                           std::memory_order_acquire)) {
      Count(word, want);
      dirty_summary_.Set(page);
      if (!HasHistory(word)) history_summary_.Set(page);
      return true;
    }
  }
}

void PageTable::DropWords(std::span<const uint64_t> windows) {
  // Words of a file stay there; where pages are larger than a chunk's words, words stay too.
  if (files_ != nullptr || kPageBytes != kSummaryPages * sizeof(PageWord)) return;
  std::vector<iovec> going;
  std::vector<uint64_t> gone;
  std::vector<uint64_t> closed;
  std::vector<uint64_t> others;
  for (const uint64_t window : windows) {
    const PageIndex first = tables_.RunOf(window).first / kSummaryPages * kSummaryPages;
    std::atomic<PageWord>* const words = words_ + first;
    if (!going.empty() && going.back().iov_base == words) continue;
    const PageIndex count = std::min(kSummaryPages, pages_ - first);
    // Ghosts go with the words: nothing of the chunk was kept, so little of it comes back soon.
    const auto says = [](const std::atomic<PageWord>& word) {
      return (word.load(std::memory_order_relaxed) & ~kGhost) != 0;
    };
    if (std::any_of(words, words + count, says) || !tables_.CloseChunk(window, &others)) continue;
    // Looked at before it was closed, which is cheap, and again now that nobody claims a page.
    if (std::none_of(words, words + count, says)) {
      going.push_back({words, kPageBytes});
      gone.push_back(window);
    }
    closed.insert(closed.end(), others.begin(), others.end());
    others.clear();
  }
  DropPages(going);
  for (const uint64_t window : gone) tables_.ReturnWords(window);
  for (const uint64_t window : closed) tables_.Open(window, false);
}

void PageTable::CountDirtyIn(std::atomic<uint64_t>* count) {
  const uint64_t here = dirty_here_.load(std::memory_order_relaxed);
  if (dirty_here_of_all_ != nullptr) dirty_here_of_all_->fetch_sub(here, std::memory_order_relaxed);
  if (count != nullptr) count->fetch_add(here, std::memory_order_relaxed);
  dirty_here_of_all_ = count;
}

void PageTable::Count(PageWord from, PageWord to) {
  const auto adjust = [](std::atomic<uint64_t>& count, bool before, bool after) {
    if (before == after) return;
    if (after) {
      count.fetch_add(1, std::memory_order_relaxed);
    } else {
      count.fetch_sub(1, std::memory_order_relaxed);
    }
  };
  const auto is_present = [](PageWord word) {
    return StateOf(word) == PageState::kPresent || StateOf(word) == PageState::kCopying;
  };
  const auto is_dirty = [](PageWord word) { return (word & kUnsafe) != 0; };
  const auto is_dirty_here = [](PageWord word) {
    return (word & (kDirty | kWriteback)) != 0 && HoldsFrame(word);
  };
  adjust(present_, is_present(from), is_present(to));
  adjust(dirty_, is_dirty(from), is_dirty(to));
  if (is_dirty_here(from) != is_dirty_here(to)) {
    adjust(dirty_here_, is_dirty_here(from), is_dirty_here(to));
    if (dirty_here_of_all_ != nullptr) {
      adjust(*dirty_here_of_all_, is_dirty_here(from), is_dirty_here(to));
    }
  }
  adjust(trial_, OnTrial(from) && !is_dirty(from), OnTrial(to) && !is_dirty(to));
  adjust(dirty_trial_, OnTrial(from) && is_dirty(from), OnTrial(to) && is_dirty(to));
  adjust(elsewhere_, (from & kElsewhere) != 0, (to & kElsewhere) != 0);
  adjust(written_, (from & kWritten) != 0, (to & kWritten) != 0);
  adjust(lost_, StateOf(from) == PageState::kLost, StateOf(to) == PageState::kLost);
}

}  // namespace farpage
