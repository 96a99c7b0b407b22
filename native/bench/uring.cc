#include "bench/uring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "bench/die.h"

namespace farpage::bench {
namespace {

// A counter or array that the kernel sees too, `offset` bytes into the shared rings.
uint32_t* Shared(void* rings, uint32_t offset) {
  return reinterpret_cast<uint32_t*>(static_cast<char*>(rings) + offset);
}

}  // namespace

Uring::Uring(uint32_t depth) {
  fd_ = Fd(static_cast<int>(
      Must(syscall(SYS_io_uring_setup, depth, &params_), "io_uring_setup")));
  const size_t submissions = params_.sq_off.array + params_.sq_entries * sizeof(uint32_t);
  const size_t completions = params_.cq_off.cqes + params_.cq_entries * sizeof(io_uring_cqe);
  errno = 0;
  if ((params_.features & IORING_FEAT_SINGLE_MMAP) == 0) Die("io_uring too old");
  rings_bytes_ = std::max(submissions, completions);
  entries_bytes_ = params_.sq_entries * sizeof(io_uring_sqe);
  rings_ = mmap(nullptr, rings_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(),
                IORING_OFF_SQ_RING);
  void* const entries = mmap(nullptr, entries_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED,
                             fd_.get(), IORING_OFF_SQES);
  if (rings_ == MAP_FAILED || entries == MAP_FAILED) Die("mmap of io_uring");
  entries_ = static_cast<io_uring_sqe*>(entries);
}

Uring::~Uring() {
  munmap(rings_, rings_bytes_);
  munmap(entries_, entries_bytes_);
}

void Uring::Write(int fd, const void* from, uint32_t bytes, uint64_t offset_bytes) {
  std::atomic_ref<uint32_t> tail(*Shared(rings_, params_.sq_off.tail));
  const uint32_t at = tail.load(std::memory_order_relaxed);
  const uint32_t index = at & (params_.sq_entries - 1);
  io_uring_sqe& entry = entries_[index];
  entry = {};
  entry.opcode = IORING_OP_WRITE;
  entry.fd = fd;
  entry.addr = reinterpret_cast<uint64_t>(from);
  entry.len = bytes;
  entry.off = offset_bytes;
  Shared(rings_, params_.sq_off.array)[index] = index;
  tail.store(at + 1, std::memory_order_release);
  queued_++;
}

void Uring::Enter(uint32_t wait_for, uint32_t flags) {
  long taken;
  do {
    taken = syscall(SYS_io_uring_enter, fd_.get(), queued_, wait_for, flags, nullptr, 0);
  } while (taken < 0 && errno == EINTR);
  queued_ -= static_cast<uint32_t>(Must(taken, "io_uring_enter"));
}

void Uring::Submit() { Enter(0, 0); }

uint32_t Uring::Wait(uint32_t bytes) {
  Enter(1, IORING_ENTER_GETEVENTS);
  std::atomic_ref<uint32_t> head(*Shared(rings_, params_.cq_off.head));
  const uint32_t end = std::atomic_ref<uint32_t>(*Shared(rings_, params_.cq_off.tail))
                           .load(std::memory_order_acquire);
  const auto* const done = reinterpret_cast<const io_uring_cqe*>(
      static_cast<const char*>(rings_) + params_.cq_off.cqes);
  const uint32_t begin = head.load(std::memory_order_relaxed);
  for (uint32_t at = begin; at != end; at++) {
    const int32_t result = done[at & (params_.cq_entries - 1)].res;
    errno = result < 0 ? -result : 0;
    if (result != static_cast<int32_t>(bytes)) Die("a write through io_uring failed");
  }
  head.store(end, std::memory_order_release);
  return end - begin;
}

}  // namespace farpage::bench
