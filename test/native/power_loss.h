// Lives that end by power losses, as many as were asked for.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "base/clock.h"
#include "check.h"
#include "environment.h"

namespace farpage::test {

// Calls `live(random)`, which returns how often power was lost, `usual` times, or more by
// FARPAGE_KILLS; FARPAGE_SEED lives again what was printed.
template <typename Live>
void LivePowerLosses(uint64_t usual, Live live) {
  const uint64_t kills = FromEnvironment("FARPAGE_KILLS", 0);
  const uint64_t lives = kills == 0 ? usual : kills / 100 + 1;
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", NowNs());
  std::mt19937_64 random(seed);
  uint64_t losses = 0;
  for (uint64_t n = 0; n < lives; n++) losses += live(random);
  std::printf("seed %llu, power was lost %llu times\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(losses));
  CHECK(losses > 20 * lives);
}

}  // namespace farpage::test
