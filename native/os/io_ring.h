// A minimal io_uring: writes of files, many at a time (io_uring(7)).
#pragma once

#include <linux/io_uring.h>

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "os/fd.h"
#include "os/mapping.h"

namespace farpage {

// One submission and one completion queue. One owner thread, which also creates it.
class IoRing {
 public:
  struct Completion {
    uint64_t user_data = 0;
    int32_t result = 0;  // bytes, or a negative errno
  };

  // `entries` is a power of two. Fails: kUnsupported where the kernel, a seccomp filter or an
  // administrator (sysctl kernel.io_uring_disabled) does not allow io_uring, otherwise as the
  // system says. Linux 5.6.
  static Result<std::unique_ptr<IoRing>> Create(uint32_t entries);

  // Queues a pwritev2(2) of one buffer with `flags` (RWF_*); false when the queue is full. `from`
  // stays valid until its completion has been reaped.
  bool QueueWrite(int file, const void* from, uint32_t bytes, uint64_t offset_bytes, int flags,
                  uint64_t user_data);

  // Hands what is queued to the kernel and waits until `wait_for` completions are there or the
  // call was interrupted. False: the kernel refuses; what is queued has not been handed over.
  bool Enter(uint32_t wait_for);

  // Takes one completion; false when there is none.
  bool Reap(Completion* completion);

  // Writes that the kernel has not taken over.
  [[nodiscard]] uint32_t queued() const { return queued_; }

 private:
  IoRing() = default;

  Fd ring_;
  Mapping queues_;
  Mapping entries_memory_;
  uint32_t* sq_head_ = nullptr;
  uint32_t* sq_tail_ = nullptr;
  uint32_t* sq_array_ = nullptr;
  uint32_t sq_mask_ = 0;
  uint32_t sq_entries_ = 0;
  io_uring_sqe* sqes_ = nullptr;
  uint32_t* cq_head_ = nullptr;
  uint32_t* cq_tail_ = nullptr;
  io_uring_cqe* cqes_ = nullptr;
  uint32_t cq_mask_ = 0;
  uint32_t queued_ = 0;
};

}  // namespace farpage
