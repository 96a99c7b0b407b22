// Who writes into one tier at the moment.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/clock.h"

namespace farpage {

// Threads that write into one tier at once, at most: its device is busy with as many, and one that
// hangs holds no more.
inline constexpr size_t kTierWritersMax = 4;
// A write that takes longer is one of a device that hangs: nothing new goes there before it ends.
inline constexpr uint64_t kStuckWriteNs = 500'000'000;

// Thread: any that may wait.
class TierWriters {
 public:
  // Waits for its turn. True: `began` is given back by End after the write. False: the tier hangs;
  // after kStuckWriteNs at most.
  bool Begin(uint64_t* began) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      const uint64_t now = NowNs();
      const auto oldest = std::min_element(began_.begin(), began_.end());
      const uint64_t stuck = (oldest == began_.end() ? now : *oldest) + kStuckWriteNs;
      if (now >= stuck) return false;
      if (began_.size() < kTierWritersMax) {
        began_.push_back(now);
        *began = now;
        return true;
      }
      ended_.wait_for(lock, std::chrono::nanoseconds(stuck - now));
    }
  }
  void End(uint64_t began) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      began_.erase(std::find(began_.begin(), began_.end(), began));
    }
    ended_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<uint64_t> began_;  // of the writes under way
};

}  // namespace farpage
