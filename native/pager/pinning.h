// Pinning: which pages stay in memory, and that they leave enough of it to others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

#include "memory/pins.h"
#include "pager/evictor.h"

namespace farpage {

// The part of the frames, and of a region's own bound, that pinned pages may have together.
inline constexpr uint64_t kPinnedPart = 2;

// Thread: any but fabric threads.
class Pinning {
 public:
  Pinning(Evictor& evictor, uint64_t frames_max)
      : evictor_(evictor), pages_max_(frames_max / kPinnedPart) {}

  // Pages of the run that are present, or will be, stay from the return on, or may go. At most
  // `own_max` of the region, which is null while it is only reserved. Fails: as Pins::Set. Waits
  // for a sweep that is under way.
  Status Set(Pins& pins, const Region* region, PageRun run, bool pinned, uint64_t own_max) {
    if (Status set = Restore(pins, run, pinned, own_max); !set.ok()) return set;
    evictor_.AwaitRest(region);
    return {};
  }
  // The same before anybody uses the region: waits for nothing.
  Status Restore(Pins& pins, PageRun run, bool pinned, uint64_t own_max) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t others = pages_ - pins.pages();
    const uint64_t left = pages_max_ - std::min(others, pages_max_);
    const Status set = pins.Set(run, pinned, std::min(left, own_max));
    pages_ = others + pins.pages();
    return set;
  }
  // The region ends.
  void End(Pins& pins) {
    const std::lock_guard<std::mutex> lock(mutex_);
    pages_ -= pins.End();
  }

  [[nodiscard]] uint64_t pages() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return pages_;
  }
  [[nodiscard]] uint64_t pages_max() const { return pages_max_; }

 private:
  Evictor& evictor_;
  const uint64_t pages_max_;
  mutable std::mutex mutex_;  // guards pages_, and one change of any list at a time
  uint64_t pages_ = 0;
};

}  // namespace farpage
