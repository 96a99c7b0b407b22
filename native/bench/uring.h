// The least of io_uring that writes pages: no library, one ring, one thread.
#pragma once

#include <linux/io_uring.h>

#include <cstdint>

#include "os/fd.h"

namespace farpage::bench {

// Writes queued by Write() go to the kernel with the next Submit() or Wait(). Thread: one owner. An
// error of the kernel or of a write ends the process. Rests on io_uring_setup(2), Linux 5.6.
class Uring {
 public:
  explicit Uring(uint32_t depth);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // Queues one write. Requires less than `depth` writes in flight.
  void Write(int fd, const void* from, uint32_t bytes, uint64_t offset_bytes);
  // Submits what is queued.
  void Submit();
  // The same, waits until at least one write is done, and returns how many are, each
  // of them `bytes` long.
  uint32_t Wait(uint32_t bytes);

 private:
  void Enter(uint32_t wait_for, uint32_t flags);

  Fd fd_;
  void* rings_ = nullptr;
  size_t rings_bytes_ = 0;
  io_uring_sqe* entries_ = nullptr;
  size_t entries_bytes_ = 0;
  io_uring_params params_{};
  uint32_t queued_ = 0;
};

}  // namespace farpage::bench
