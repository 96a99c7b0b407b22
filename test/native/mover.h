// Pages of a region brought near, kept there and sent away, at random.
#pragma once

#include <memory>
#include <thread>

#include "model.h"

namespace farpage::test {

// Thread: one.
class Mover {
 public:
  Mover(Pager& pager, std::shared_ptr<Region> region)
      : pager_(pager), region_(std::move(region)) {}
  ~Mover() {
    Pin({0, region_->table->pages()}, false);
    if (prefetch_ != nullptr) pager_.prefetcher().Cancel(*prefetch_);
  }
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  void DoOne(Random& random, PageRun run) {
    switch (Below(random, 6)) {
      case 0: pager_.Promote(region_, run); break;
      case 1: pager_.Demote(region_, run); break;
      case 2: Pin({run.first, std::min<uint64_t>(run.count, 4)}, true); break;
      case 3: Pin(run, false); break;
      case 4:
        prefetch_ = pager_.prefetcher().Begin(region_, run, [](const PrefetchReport&) {});
        if (prefetch_ != nullptr && Below(random, 2) == 0) pager_.prefetcher().Cancel(*prefetch_);
        break;
      default: {
        WorkingSet found = pager_.WorkingSetOf(*region_, 60'000);
        std::vector<PageRun> runs = std::move(found.hot);
        runs.insert(runs.end(), found.warm.begin(), found.warm.end());
        if (!runs.empty()) {
          pager_.prefetcher().Begin(region_, std::move(runs), [](const PrefetchReport&) {});
        }
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(Below(random, 2000)));
  }

 private:
  // There may be too many already.
  void Pin(PageRun run, bool pinned) {
    (void)pager_.pinning().Set(*region_->pins, region_.get(), run, pinned, ~uint64_t{0});
  }

  Pager& pager_;
  const std::shared_ptr<Region> region_;
  std::shared_ptr<Prefetch> prefetch_;
};

}  // namespace farpage::test
