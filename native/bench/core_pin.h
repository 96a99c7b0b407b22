// Which core the calling thread runs on.
#pragma once

#include <sched.h>

#include <cstdint>

#include "bench/die.h"

namespace farpage::bench {

// The value of an option that names no core: leave it to the scheduler.
inline constexpr uint64_t kAnyCore = 1023;

// Pins the calling thread, and what it starts from now on, to `core`.
inline void PinToCore(uint64_t core) {
  if (core == kAnyCore) return;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<size_t>(core), &cores);
  Must(sched_setaffinity(0, sizeof cores, &cores), "sched_setaffinity");
}

}  // namespace farpage::bench
