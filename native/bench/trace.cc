#include "bench/trace.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace farpage::bench {
namespace {

constexpr double kSkew = 0.99;
constexpr uint64_t kPhases = 8;

// Pages by popularity, in random places.
class Zipf {
 public:
  Zipf(uint64_t pages, std::mt19937_64& random) : sums_(pages), places_(pages) {
    double sum = 0;
    for (uint64_t rank = 0; rank < pages; rank++) {
      sums_[rank] = sum += 1 / std::pow(static_cast<double>(rank + 1), kSkew);
      places_[rank] = rank;
    }
    std::shuffle(places_.begin(), places_.end(), random);
  }
  uint64_t operator()(std::mt19937_64& random) const {
    const double wanted = static_cast<double>(random() >> 11) * 0x1p-53 * sums_.back();
    const auto found = std::lower_bound(sums_.begin(), sums_.end(), wanted);
    return places_[static_cast<size_t>(found - sums_.begin())];
  }

 private:
  std::vector<double> sums_;
  std::vector<uint64_t> places_;
};

}  // namespace

std::vector<uint64_t> MakeTrace(const std::string& name, uint64_t pages, uint64_t length,
                                uint64_t seed) {
  std::mt19937_64 random(seed);
  const Zipf zipf(pages, random);
  std::vector<uint64_t> trace;
  trace.reserve(length);
  uint64_t scan = 0;
  while (trace.size() < length) {
    if (name == "zipf+scan" && trace.size() % 2 == 0) {
      trace.push_back(scan++ % pages);
    } else if (name == "zipf+bursts" && random() % pages == 0) {
      const uint64_t first = random() % pages;
      for (uint64_t n = 0; n < pages / 2; n++) trace.push_back((first + n) % pages);
    } else if (name == "moving") {
      const uint64_t phase = trace.size() * kPhases / length;
      trace.push_back((zipf(random) + phase * (pages / 3)) % pages);
    } else {
      trace.push_back(zipf(random));
    }
  }
  trace.resize(length);
  return trace;
}

}  // namespace farpage::bench
