// One processor for a thread, as where cores are short.
#pragma once

#include <sched.h>

#include "base/clock.h"
#include "check.h"
#include "os/short_cores.h"

namespace farpage::test {

// Longer than any test: what was answered then is always lately.
inline constexpr uint64_t kLongNs = 600'000'000'000;

// The calling thread, and those it starts, run on so many of the processors that they might run on.
inline void PinToProcessors(int count) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CHECK_EQ(::sched_getaffinity(0, sizeof cores, &cores), 0);
  for (size_t core = 0; core < CPU_SETSIZE; core++) {
    if (!CPU_ISSET(core, &cores)) continue;
    if (count == 0) CPU_CLR(core, &cores);
    else count--;
  }
  CHECK_EQ(::sched_setaffinity(0, sizeof cores, &cores), 0);
}
inline void PinToOneProcessor() { PinToProcessors(1); }

}  // namespace farpage::test
