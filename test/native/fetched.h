// A prefetch, of a copy that is kept a pull, and how it ended.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "appliance_fixture.h"

namespace farpage::test {

class Fetched {
 public:
  // Begins it over all of the region.
  Fetched(Appliance& appliance, const std::shared_ptr<Region>& region)
      : prefetch_(appliance.pager.prefetcher().Begin(region, PageRun{0, region->table->pages()},
                                                     [this](const PrefetchReport& told) {
                                                       const std::lock_guard lock(mutex_);
                                                       report_ = told;
                                                       ended_ = true;
                                                       wake_.notify_all();
                                                     })) {}

  // Waits for its end, which the test program's own deadline bounds.
  PrefetchReport Await() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return ended_; });
    return report_;
  }
  [[nodiscard]] bool ended() {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  // How far it is.
  [[nodiscard]] PrefetchReport Now() const { return Prefetcher::Report(*prefetch_); }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  PrefetchReport report_;
  std::shared_ptr<Prefetch> prefetch_;
};

inline Code CodeOf(const PrefetchReport& report) {
  return report.outcome.ok() ? Code::kOk : report.outcome.error().code;
}

}  // namespace farpage::test
