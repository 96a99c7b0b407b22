#include "os/busy_core.h"

#include <sched.h>

#include <algorithm>

namespace farpage {

bool BusyCore::Judge(uint64_t now_ns, uint64_t waited_ns) {
  if (waited_ns <= kCoreWaitNs || now_ns < left_ns_ + every_ns_) return false;
  // Soon again: it is no better where it went to.
  const bool soon = left_ns_ != 0 && now_ns < left_ns_ + 4 * every_ns_;
  every_ns_ = soon ? std::min(2 * every_ns_, kLeaveEveryNsMax) : kLeaveEveryNs;
  left_ns_ = now_ns;
  return true;
}

bool LeaveCore() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const int core = ::sched_getcpu();
  if (core < 0 || ::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  cpu_set_t others = allowed;
  CPU_CLR(static_cast<size_t>(core), &others);
  if (CPU_COUNT(&others) == 0) return false;
  if (::sched_setaffinity(0, sizeof others, &others) != 0) return false;
  return ::sched_setaffinity(0, sizeof allowed, &allowed) == 0;
}

}  // namespace farpage
