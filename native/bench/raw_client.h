// The asking end of raw ping-pong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bench/frame.h"
#include "bench/load.h"
#include "bench/stream.h"

namespace farpage::bench {

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
  std::span<std::byte> SlotOf(uint64_t number, uint64_t size_bytes);

  Stream stream_;
  std::unique_ptr<std::byte[]> payload_;
  uint64_t slots_ = 1;
  uint64_t offset_[kDepthMax] = {};
  uint64_t posted_ns_[kDepthMax] = {};
  Places places_;
};

}  // namespace farpage::bench
