// Whether polling before sleeping pays just now.
#pragma once

#include <cstdint>

namespace farpage {

// How long who waits for an answer polls before it sleeps, while that has paid: as long as the
// other end polls for the device. Readers of cold pages, 16 at a time, wait 100 us for the next
// answers; asleep by then, they leave the device idle for the 40 us that waking them takes.
inline constexpr uint64_t kWaitSpinNs = 500'000;

// True when this process may run on two processors at once (sched_getaffinity(2)); where it may
// not, polling only takes time from the peer that is waited for. Asked once.
bool MayPoll();

// Learns from how waits ended. A wait that polling did not shorten makes polling less likely;
// while it is off, every kProbeEvery-th wait tries again. Thread: one owner.
class AdaptiveSpin {
 public:
  static constexpr int kConfidenceMax = 8;
  static constexpr int kFailureCost = 2;
  static constexpr uint32_t kProbeEvery = 32;

  // How long to poll, given that the setting is `spin_ns`: all of it or 0.
  uint64_t Budget(uint64_t spin_ns) {
    if (spin_ns == 0 || !MayPoll()) return 0;
    if (confidence_ > 0) return spin_ns;
    return ++skipped_ % kProbeEvery == 0 ? spin_ns : 0;
  }

  // The wait ended while polling (true), or polling was in vain.
  void Learn(bool worked) {
    if (worked) {
      confidence_ = kConfidenceMax;
    } else if (confidence_ > 0) {
      confidence_ -= kFailureCost;
    }
  }

 private:
  int confidence_ = kConfidenceMax;
  uint32_t skipped_ = 0;
};

}  // namespace farpage
