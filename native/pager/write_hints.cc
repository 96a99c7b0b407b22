#include "pager/write_hints.h"

#include <time.h>

#include <utility>

namespace farpage {

void WriteHints::Note(const std::shared_ptr<Region>& region, PageRun run) {
  if (!region->store->has_sink()) return;
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_ || hints_.size() == kWriteHintsMax) return;
    hints_.push_back({region, run});
    wake = std::exchange(asleep_, false);
  }
  if (wake) wake_.notify_one();
}

void WriteHints::Close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.Join();
  hints_.clear();
}

void WriteHints::Loop() {
  std::vector<Hint> taken;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_) {
    if (hints_.empty()) {
      asleep_ = true;
      wake_.wait(lock, [this] { return closing_ || !hints_.empty(); });
      asleep_ = false;
    }
    lock.unlock();
    const timespec rest{0, kHintRestNs};
    ::nanosleep(&rest, nullptr);
    lock.lock();
    taken.swap(hints_);
    if (closing_) return;
    lock.unlock();
    for (const Hint& hint : taken) {
      // As Pager::WriteBehind: counted in first, and only then asked whether the region goes.
      hint.region->jobs.fetch_add(1, std::memory_order_seq_cst);
      if (!hint.region->removed.load(std::memory_order_seq_cst)) {
        hint.region->store->WillWrite(hint.run);
      }
      hint.region->jobs.fetch_sub(1, std::memory_order_acq_rel);
    }
    taken.clear();
    lock.lock();
  }
}

}  // namespace farpage
