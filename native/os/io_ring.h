// A minimal io_uring: asynchronous reads of files (io_uring(7)).
#pragma once

#include <linux/io_uring.h>

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "os/fd.h"
#include "os/mapping.h"

namespace farpage {

// One submission and one completion queue. One owner thread.
class IoRing {
 public:
  struct Completion {
    uint64_t user_data = 0;
    int32_t result = 0;  // bytes, or a negative errno
  };

  // `entries` is a power of two. Fails: kUnsupported where the kernel or an administrator does
  // not allow io_uring (ENOSYS, EPERM), otherwise as the system says.
  static Result<std::unique_ptr<IoRing>> Create(uint32_t entries);

  // Queues a read; false when the submission queue is full. `into` must stay valid.
  bool QueueRead(int file, void* into, uint32_t bytes, uint64_t offset, uint64_t user_data);

  // Hands what is queued to the kernel, in one call; with `wait_for` also waits for as many
  // completions.
  void Submit(uint32_t wait_for = 0);

  // Takes one completion; false when there is none.
  bool Reap(Completion* completion);

  [[nodiscard]] uint32_t queued() const { return queued_; }
  // Readable (poll(2), epoll(7)) while completions wait.
  [[nodiscard]] int descriptor() const { return ring_.get(); }

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
