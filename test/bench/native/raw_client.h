// The asking end of raw ping-pong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "frame.h"
#include "latency_histogram.h"
#include "stream.h"

namespace farpage::raw {

enum class Operation { kRead, kWrite };

// One measurement: `depth` operations of `size_bytes` in flight all the time, at random places of
// the first `span_bytes` of the server's memory, for `duration_ns`, after as many for `warm_up_ns`
// that do not count.
struct Load {
  Operation operation = Operation::kRead;
  uint64_t size_bytes = 64;
  uint64_t depth = 1;
  uint64_t span_bytes = kAreaBytes;
  uint64_t duration_ns = 0;
  uint64_t warm_up_ns = 0;
};

// Latencies from the moment an operation was posted to the one its answer was in place, and how
// long all of them took.
struct Measured {
  LatencyHistogram latency;
  uint64_t elapsed_ns = 0;
};

// Drives one connection. A READ is 52 bytes out and 20 + n + padding in, placed in a buffer of its
// own per operation in flight, its first word checked. A WRITE is 20 + n + padding out followed by
// a fence, a READ of nothing: the operation ends when that is answered. Requests that can go
// together go in one send. Thread: one owner.
class RawClient {
 public:
  RawClient(int socket, Waiting waiting);
  Measured Run(const Load& load);

 private:
  void Post(const Load& load, uint64_t number);
  void Finish(const Load& load, uint64_t number);
  [[nodiscard]] bool AnswerReceived(const Load& load) const;
  uint64_t NextOffset(const Load& load);
  std::span<std::byte> SlotOf(uint64_t number, uint64_t size_bytes);

  Stream stream_;
  std::unique_ptr<std::byte[]> payload_;
  uint64_t slots_ = 1;
  uint64_t offset_[kDepthMax] = {};
  uint64_t posted_ns_[kDepthMax] = {};
  uint64_t random_ = 0x2545F4914F6CDD1D;
};

}  // namespace farpage::raw
