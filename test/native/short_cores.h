// One processor for a thread, as where cores are short.
#pragma once

#include <sched.h>

#include "base/clock.h"
#include "check.h"
#include "os/short_cores.h"

namespace farpage::test {

// Longer than any test: what was answered then is always lately.
inline constexpr uint64_t kLongNs = 600'000'000'000;

// The calling thread, and those it starts, run on one of the processors that they might run on.
inline void PinToOneProcessor() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CHECK_EQ(::sched_getaffinity(0, sizeof cores, &cores), 0);
  int first = 0;
  while (!CPU_ISSET(first, &cores)) first++;
  CPU_ZERO(&cores);
  CPU_SET(first, &cores);
  CHECK_EQ(::sched_setaffinity(0, sizeof cores, &cores), 0);
}

}  // namespace farpage::test
