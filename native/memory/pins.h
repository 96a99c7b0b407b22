// Ranges of a region whose pages stay in memory once they are there.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/page.h"
#include "base/result.h"

namespace farpage {

// Pinned ranges of one region, at most.
inline constexpr size_t kPinnedRangesMax = 1024;

// A sorted list of runs that do not touch each other. Who evicts looks at it once for each chunk of
// page words; who changes it waits until no sweep is under way that saw it as it was before.
// Thread: any.
class Pins {
 public:
  using List = std::vector<PageRun>;

  // A look at the list, for pages in order.
  class View {
   public:
    explicit View(const Pins& of) : list_(of.Get()) {}
    [[nodiscard]] bool Has(PageIndex page) {
      if (list_ == nullptr) return false;
      if (at_ < list_->size() && (*list_)[at_].end() <= page) Seek(page);
      return at_ < list_->size() && (*list_)[at_].first <= page;
    }

   private:
    void Seek(PageIndex page) {
      const auto found = std::upper_bound(
          list_->begin(), list_->end(), page,
          [](PageIndex behind, const PageRun& run) { return behind < run.end(); });
      at_ = static_cast<size_t>(found - list_->begin());
    }
    const std::shared_ptr<const List> list_;
    size_t at_ = 0;
  };

  // Adds a run or takes it away. Fails: kQuota (kPinnedRangesMax, or more than `pages_max` pages in
  // all), kRegionRemoved; with the list as it was.
  Status Set(PageRun run, bool pinned, uint64_t pages_max);

  // Nothing is pinned from now on; how many pages were.
  uint64_t End();

  [[nodiscard]] List Runs() const;
  // Pages of all runs, present or not.
  [[nodiscard]] uint64_t pages() const;

 private:
  [[nodiscard]] std::shared_ptr<const List> Get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return list_;
  }

  mutable std::mutex mutex_;
  std::shared_ptr<const List> list_;  // null: nothing is pinned
  bool ended_ = false;
};

}  // namespace farpage
