// Which pages a measurement touches.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace farpage::bench {

// `count` different numbers below `limit` in random order; the same for the same seed.
// Requires count <= limit.
inline std::vector<uint64_t> RandomPages(uint64_t count, uint64_t limit, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> pages(limit);
  for (uint64_t page = 0; page < limit; page++) pages[page] = page;
  for (uint64_t at = 0; at < count; at++)
    std::swap(pages[at], pages[at + random() % (limit - at)]);
  pages.resize(count);
  return pages;
}

}  // namespace farpage::bench
