#include "os/io_ring.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace farpage {
namespace {

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

// Completions wait for the owner's next Enter instead of waking it one by one (Linux 6.1).
constexpr uint32_t kOneOwner = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

int Setup(uint32_t entries, io_uring_params* params, uint32_t flags) {
  *params = {};
  params->flags = flags;
  return static_cast<int>(::syscall(__NR_io_uring_setup, entries, params));
}

}  // namespace

Result<std::unique_ptr<IoRing>> IoRing::Create(uint32_t entries) {
  io_uring_params params{};
  Fd ring(Setup(entries, &params, kOneOwner));
  if (!ring.valid() && errno == EINVAL) ring = Fd(Setup(entries, &params, 0));
  if (!ring.valid()) {
    const int number = errno;
    if (number == ENOSYS || number == EPERM || number == EACCES) {
      return Error{Code::kUnsupported, number, "io_uring_setup"};
    }
    return SystemError("io_uring_setup", number);
  }
  // Both rings in one mapping: Linux 5.4 and later, older than IORING_OP_WRITE.
  if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0) {
    return Error{Code::kUnsupported, 0, "io_uring of an old kernel"};
  }
  const uint64_t bytes =
      std::max<uint64_t>(params.sq_off.array + params.sq_entries * sizeof(uint32_t),
                         params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  auto queues = Mapping::Shared(ring.get(), IORING_OFF_SQ_RING, bytes);
  if (!queues.ok()) return queues.error();
  auto sqes =
      Mapping::Shared(ring.get(), IORING_OFF_SQES, params.sq_entries * sizeof(io_uring_sqe));
  if (!sqes.ok()) return sqes.error();
  std::unique_ptr<IoRing> made(new IoRing());
  std::byte* base = queues.value().data();
  const auto at = [&](uint32_t offset) { return reinterpret_cast<uint32_t*>(base + offset); };
  made->sq_head_ = at(params.sq_off.head);
  made->sq_tail_ = at(params.sq_off.tail);
  made->sq_array_ = at(params.sq_off.array);
  made->sq_mask_ = *at(params.sq_off.ring_mask);
  made->sq_entries_ = params.sq_entries;
  made->sqes_ = reinterpret_cast<io_uring_sqe*>(sqes.value().data());
  made->cq_head_ = at(params.cq_off.head);
  made->cq_tail_ = at(params.cq_off.tail);
  made->cqes_ = reinterpret_cast<io_uring_cqe*>(base + params.cq_off.cqes);
  made->cq_mask_ = *at(params.cq_off.ring_mask);
  made->ring_ = std::move(ring);
  made->queues_ = std::move(queues).value();
  made->entries_memory_ = std::move(sqes).value();
  return made;
}

bool IoRing::QueueWrite(int file, const void* from, uint32_t bytes, uint64_t offset_bytes,
                        int flags, uint64_t user_data) {
  const uint32_t tail = *sq_tail_;
  if (tail - __atomic_load_n(sq_head_, __ATOMIC_ACQUIRE) == sq_entries_) return false;
  const uint32_t index = tail & sq_mask_;
  io_uring_sqe& entry = sqes_[index];
  std::memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_WRITE;
  entry.fd = file;
  entry.addr = reinterpret_cast<uintptr_t>(from);
  entry.len = bytes;
  entry.off = offset_bytes;
  entry.rw_flags = flags;
  entry.user_data = user_data;
  sq_array_[index] = index;
  __atomic_store_n(sq_tail_, tail + 1, __ATOMIC_RELEASE);
  queued_++;
  return true;
}

bool IoRing::Enter(uint32_t wait_for) {
  for (;;) {
    const long taken = ::syscall(__NR_io_uring_enter, ring_.get(), queued_, wait_for,
                                 IORING_ENTER_GETEVENTS, nullptr, 0);
    if (taken >= 0) {
      queued_ -= static_cast<uint32_t>(taken);
      return true;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EBUSY && errno != ENOMEM) return false;
    // The kernel is short of memory for now; what is done need not wait for it.
    if (*cq_head_ != __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE)) return true;
    const timespec nap{0, 100'000};
    ::nanosleep(&nap, nullptr);
  }
}

bool IoRing::Reap(Completion* completion) {
  const uint32_t head = *cq_head_;
  if (head == __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE)) return false;
  const io_uring_cqe& entry = cqes_[head & cq_mask_];
  *completion = {entry.user_data, entry.res};
  __atomic_store_n(cq_head_, head + 1, __ATOMIC_RELEASE);
  return true;
}

}  // namespace farpage
