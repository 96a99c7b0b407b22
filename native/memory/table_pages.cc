#include "memory/table_pages.h"

#include <sched.h>

#include <algorithm>

#include "base/check.h"
#include "memory/page_table.h"

namespace farpage {
namespace {

constexpr uint64_t kGib = uint64_t{1} << 30;

uint64_t GibOf(PageIndex page) { return (page << kPageShift) / kGib; }

}  // namespace

TablePages::TablePages(std::byte* states, uint64_t pages)
    : states_(reinterpret_cast<State*>(states)),
      pages_(pages),
      gibs_(std::make_unique<std::atomic<bool>[]>(GibOf(pages) + 1)) {}

uint64_t TablePages::ChunkStart(uint64_t window) {
  return window - window % std::max<uint64_t>(kSummaryPages / WindowPages(), 1);
}

PageRun TablePages::RunOf(uint64_t window) const {
  const PageIndex first = window * WindowPages();
  return {first, std::min(WindowPages(), pages_ - std::min(first, pages_))};
}

void TablePages::ChargeTo(FrameBudget& budget) {
  budget_ = &budget;
  budget.TakeTables(charged());
}

void TablePages::Charge(uint64_t pages) {
  charged_.fetch_add(pages, std::memory_order_relaxed);
  if (budget_ != nullptr) budget_->TakeTables(pages);
}

void TablePages::Return(uint64_t pages) {
  charged_.fetch_sub(pages, std::memory_order_relaxed);
  if (budget_ != nullptr) budget_->ReturnTables(pages);
}

void TablePages::ChargeWords(PageIndex page) {
  State& state = At(ChunkStart(WindowOf(page)));
  if ((state.load(std::memory_order_relaxed) & kWords) != 0) return;
  if ((state.fetch_or(kWords, std::memory_order_acq_rel) & kWords) == 0) Charge(1);
}

void TablePages::Enter(PageIndex page) {
  State& state = At(WindowOf(page));
  uint16_t now = state.load(std::memory_order_relaxed);
  for (;;) {
    if ((now & kClosed) != 0) {
      ::sched_yield();
      now = state.load(std::memory_order_relaxed);
      continue;
    }
    const auto next = static_cast<uint16_t>((now + 1) | kCharged);
    // Acquires what the opening released: words that were given back read as zero.
    if (state.compare_exchange_weak(now, next, std::memory_order_acq_rel,
                                    std::memory_order_relaxed)) {
      break;
    }
  }
  if ((now & kCharged) != 0) return;
  Charge(1);
  ChargeWords(page);
  std::atomic<bool>& gib = gibs_[GibOf(page)];
  if (!gib.load(std::memory_order_relaxed) && !gib.exchange(true, std::memory_order_relaxed)) {
    Charge(kTablesPerGib);
  }
}

void TablePages::Leave(PageIndex page) {
  const uint64_t window = WindowOf(page);
  State& state = At(window);
  uint16_t now = state.load(std::memory_order_relaxed);
  for (;;) {
    FARPAGE_CHECK((now & kCount) != 0, "a page left its window twice");
    auto next = static_cast<uint16_t>(now - 1);
    if ((next & kCount) == 0) next |= kListed;
    if (!state.compare_exchange_weak(now, next, std::memory_order_acq_rel,
                                     std::memory_order_relaxed)) {
      continue;
    }
    if ((next & ~now & kListed) == 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    list_.push_back(window);
    emptied_.store(list_.size(), std::memory_order_release);
    return;
  }
}

std::vector<uint64_t> TablePages::TakeEmptied() {
  const std::lock_guard<std::mutex> lock(mutex_);
  emptied_.store(0, std::memory_order_release);
  return std::exchange(list_, {});
}

bool TablePages::Close(uint64_t window) {
  State& state = At(window);
  uint16_t now = state.load(std::memory_order_relaxed);
  for (;;) {
    auto next = static_cast<uint16_t>(now & ~kListed);
    if ((now & kCount) == 0) next |= kClosed;
    if (state.compare_exchange_weak(now, next, std::memory_order_acq_rel,
                                    std::memory_order_relaxed)) {
      return (next & kClosed) != 0;
    }
  }
}

uint64_t TablePages::CloseOccupied(uint64_t window) {
  return At(window).fetch_or(kClosed, std::memory_order_acq_rel) & kCount;
}

bool TablePages::CloseChunk(uint64_t window, std::vector<uint64_t>* others) {
  const uint64_t first = ChunkStart(window);
  const uint64_t count = std::max<uint64_t>(kSummaryPages / WindowPages(), 1);
  bool all = true;
  for (uint64_t other = first; other < first + count && RunOf(other).count != 0; other++) {
    State& state = At(other);
    uint16_t now = state.load(std::memory_order_acquire);
    if ((now & kClosed) != 0) continue;  // by who asks
    const bool idle = (now & ~kWords) == 0;
    const auto next = static_cast<uint16_t>(now | kClosed);
    if (idle && state.compare_exchange_strong(now, next, std::memory_order_acq_rel,
                                              std::memory_order_relaxed)) {
      others->push_back(other);
      continue;
    }
    all = false;
    break;
  }
  if (all) return true;
  for (const uint64_t other : *others) Open(other, false);
  others->clear();
  return false;
}

void TablePages::Open(uint64_t window, bool gone) {
  const auto flags = static_cast<uint16_t>(gone ? kClosed | kCharged : kClosed);
  const uint16_t before = At(window).fetch_and(static_cast<uint16_t>(~flags),
                                               std::memory_order_acq_rel);
  if (gone && (before & kCharged) != 0) Return(1);
}

void TablePages::ReturnWords(uint64_t window) {
  State& state = At(ChunkStart(window));
  const uint16_t before =
      state.fetch_and(static_cast<uint16_t>(~kWords), std::memory_order_acq_rel);
  if ((before & kWords) != 0) Return(1);
}

}  // namespace farpage
