// A core that somebody else keeps busy while its thread wants it.
#pragma once

#include <cstdint>

namespace farpage {

// A thread that has waited for longer to run is better off on another core: pieces of the pager's
// work are shorter.
inline constexpr uint64_t kCoreWaitNs = 100'000;
// From one leave to the next, at least; twice as long each time while it does not help, at most.
inline constexpr uint64_t kLeaveEveryNs = 1'000'000;
inline constexpr uint64_t kLeaveEveryNsMax = 1'000'000'000;

// Where a client polls for its answer on the core of the thread that answers, both take turns,
// although another core may be idle: the client polls in vain, until it sleeps or its slice is
// over. Kernels look for an idle core when they wake a thread, but some pack threads on few cores
// instead, and then both stay together, at 70 times the latency. One owner thread.
class BusyCore {
 public:
  // It waited for `waited_ns` to run, as of `now_ns`. True: leave.
  bool Judge(uint64_t now_ns, uint64_t waited_ns);

 private:
  uint64_t left_ns_ = 0;
  uint64_t every_ns_ = kLeaveEveryNs;
};

// Moves the calling thread to another core that it may run on (sched_setaffinity(2), there and
// back). False: there is none, or the system refuses.
bool LeaveCore();

}  // namespace farpage
