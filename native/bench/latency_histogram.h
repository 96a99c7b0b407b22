// Latencies by bucket, so that millions of them cost neither memory nor cache.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace farpage::bench {

// Nanoseconds in buckets no wider than 1/128 of their value (exact below 256), so a ratio of two
// percentiles is right to a percent. Thread: one owner.
class LatencyHistogram {
 public:
  void Add(uint64_t ns, uint64_t times = 1) {
    counts_[Bucket(ns)] += times;
    total_ += times;
  }

  [[nodiscard]] uint64_t total() const { return total_; }

  // The middle of the bucket that holds the `fraction` (0..1) quantile; 0 when empty.
  [[nodiscard]] double Quantile(double fraction) const {
    const double wanted = fraction * static_cast<double>(total_);
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < kBuckets; bucket++) {
      seen += counts_[bucket];
      if (counts_[bucket] != 0 && static_cast<double>(seen) >= wanted) return Middle(bucket);
    }
    return 0;
  }

 private:
  static constexpr unsigned kFineBits = 7;
  static constexpr size_t kBuckets = size_t{64 - kFineBits + 1} << kFineBits;

  static size_t Bucket(uint64_t ns) {
    if (ns < (uint64_t{2} << kFineBits)) return static_cast<size_t>(ns);
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kFineBits - 1;
    return (size_t{shift} << kFineBits) + static_cast<size_t>(ns >> shift);
  }
  static double Middle(size_t bucket) {
    if (bucket < (size_t{2} << kFineBits)) return static_cast<double>(bucket);
    const size_t shift = (bucket >> kFineBits) - 1;
    const uint64_t low = static_cast<uint64_t>(bucket - (shift << kFineBits)) << shift;
    return static_cast<double>(low) + static_cast<double>(uint64_t{1} << shift) / 2;
  }

  std::unique_ptr<uint64_t[]> counts_ = std::make_unique<uint64_t[]>(kBuckets);
  uint64_t total_ = 0;
};

}  // namespace farpage::bench
