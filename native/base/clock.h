// One clock for deadlines and measurements.
#pragma once

#include <time.h>

#include <cstdint>

namespace farpage {

// Nanoseconds of CLOCK_MONOTONIC; about 20 ns a call through the vDSO. Thread: any.
inline uint64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// Tells the core that this is a spin loop (PAUSE, YIELD), so that it costs less power and does
// not starve the sibling hyper-thread.
inline void SpinPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

}  // namespace farpage
