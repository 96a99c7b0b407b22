// The pager's reclaim thread: from the high mark of the budget down to the low one. And the thread
// of what must not wait for a tier as that may: write-behind, the clock of last uses.
#include <algorithm>
#include <chrono>

#include "pager/pager.h"

namespace farpage {
namespace {

// How long the thread rests after a sweep that freed nothing.
constexpr auto kReclaimRest = std::chrono::milliseconds(20);

}  // namespace

void Pager::WakeReclaim() {
  const uint64_t max = budget_.max();
  if (max < kFreePartMax) return;
  const bool told = full_of_tables_.load(std::memory_order_relaxed) == budget_.IsFullOfTables();
  if (told && budget_.PagesBeyond(HighMark(max) - 1) == 0) return;
  if (reclaim_asked_.exchange(true, std::memory_order_acq_rel)) return;
  { std::lock_guard<std::mutex> lock(reclaim_mutex_); }
  reclaim_wake_.notify_one();
}

// Called by fills that find nothing but dirty pages, again and again until one of them is clean.
void Pager::Press() {
  if (pressed_.exchange(true, std::memory_order_acq_rel)) return;
  urged_.store(true, std::memory_order_release);
  reclaim_asked_.store(true, std::memory_order_release);
  { std::lock_guard<std::mutex> lock(reclaim_mutex_); }
  clock_wake_.notify_one();
  reclaim_wake_.notify_one();
}

void Pager::ClockLoop() {
  std::unique_lock<std::mutex> lock(reclaim_mutex_);
  const std::chrono::nanoseconds tick(use_tick_ns_);
  auto next_tick = std::chrono::steady_clock::now() + tick;
  while (!closing_) {
    clock_wake_.wait_until(lock, next_tick, [this] {
      return closing_ || pressed_.load(std::memory_order_acquire);
    });
    if (closing_) return;
    lock.unlock();
    // Never two ticks at once: what was used while this thread was late shall not look older.
    if (const auto now = std::chrono::steady_clock::now(); now >= next_tick) {
      TickUses();
      next_tick = now + tick;
    }
    if (pressed_.exchange(false, std::memory_order_acq_rel)) WriteBehind();
    lock.lock();
  }
}

void Pager::ReclaimLoop() {
  const uint64_t low = LowMark(budget_.max());
  std::unique_lock<std::mutex> lock(reclaim_mutex_);
  while (!closing_) {
    reclaim_wake_.wait(lock, [this] {
      return closing_ || reclaim_asked_.load(std::memory_order_acquire);
    });
    if (closing_) return;
    urged_.store(false, std::memory_order_relaxed);
    lock.unlock();
    (void)evictor_.GiveTablesBack();
    bool freed = true;
    while (freed && budget_.PagesBeyond(low) != 0) {
      const uint64_t want = std::min(budget_.PagesBeyond(low), kEvictionBatchPages * 8);
      const std::shared_ptr<Region> writer = evictor_.FilledByWriter();
      const EvictionResult result = evictor_.Evict(want, nullptr, writer.get());
      freed = result.evicted_pages + result.table_pages != 0;
      if (!freed) WriteBehind();
    }
    full_of_tables_.store(budget_.IsFullOfTables(), std::memory_order_relaxed);
    lock.lock();
    // Who presses wants another look at once: pages and tables that are full are found by looking.
    const auto wanted = [this] { return closing_ || urged_.load(std::memory_order_acquire); };
    if (!freed) reclaim_wake_.wait_for(lock, kReclaimRest, wanted);
    reclaim_asked_.store(urged_.load(std::memory_order_acquire), std::memory_order_release);
  }
}

void Pager::WriteBehind() {
  for (const auto& region : evictor_.Regions()) {
    if (region->table->dirty() == 0) continue;
    // Counted in first, and only then asked: RemoveRegion says and then looks. Either it waits for
    // this job or the job sees that the region is going.
    region->jobs.fetch_add(1, std::memory_order_seq_cst);
    if (!region->removed.load(std::memory_order_seq_cst)) {
      write_back_.Behind(region);
    }
    region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
}

}  // namespace farpage
