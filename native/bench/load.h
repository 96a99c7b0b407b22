// What one measurement over a connection does, and what it found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/frame.h"
#include "bench/latency_histogram.h"
#include "bench/options.h"
#include "bench/stream.h"

namespace farpage::bench {

enum class Operation { kRead, kWrite, kFetchAdd, kCompareSwap };

// `depth` operations of `size_bytes` in flight all the time, at random places of the first
// `span_bytes` of the other end's memory, for `duration_ns`, after as many for `warm_up_ns` that do
// not count. Where there are `offsets`, each of them is visited once instead, and nothing else.
struct Load {
  Operation operation = Operation::kRead;
  uint64_t size_bytes = 64;
  uint64_t depth = 1;
  uint64_t span_bytes = kAreaBytes;
  uint64_t duration_ns = 0;
  uint64_t warm_up_ns = 0;
  std::vector<uint64_t> offsets;
};

// Latencies from the moment an operation was posted to the one its answer was in place, and how
// long all of them took.
struct Measured {
  LatencyHistogram latency;
  uint64_t elapsed_ns = 0;
};

// Random places of a load, the same sequence for both sides of a ratio. Thread: one owner.
class Places {
 public:
  uint64_t Next(const Load& load);

 private:
  uint64_t random_ = 0x2545F4914F6CDD1D;
};

// The loads of the cross product of --op, --sizes and --depths; `allowed` names the operations.
std::vector<Load> LoadsOf(Options& options, std::string_view allowed);
Waiting WaitingOf(Options& options, std::string_view allowed);

// Prints the one JSON object of a measurement; `side` is raw or farpage.
void PrintMeasured(const char* side, const std::string& address, Waiting waiting,
                   const Load& load, const Measured& measured);

}  // namespace farpage::bench
