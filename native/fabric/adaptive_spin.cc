#include "fabric/adaptive_spin.h"

#include <sched.h>

namespace farpage {

bool MayPoll() {
  static const bool kTwoProcessors = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    // More processors than the set holds (EINVAL) are certainly more than one.
    return ::sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1;
  }();
  return kTwoProcessors;
}

}  // namespace farpage
