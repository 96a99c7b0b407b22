// The system calls by which the core changes files, met on their way to the kernel: the linker puts
// ours in front (--wrap, binding.gyp; native_test alone). So the n-th of them can fail or be the
// last thing that a process does, and what a power loss would have left can be built.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace farpage::test {

enum CallKind : uint32_t {
  kCallOpen = 1,       // openat(2)
  kCallRead = 2,       // pread(2)
  kCallWrite = 4,      // pwrite(2)
  kCallTruncate = 8,   // ftruncate(2)
  kCallSync = 16,      // fdatasync(2), fsync(2)
  kCallAllocate = 32,  // fallocate(2) that reserves, madvise(2) that populates
  kCallName = 64,      // link(2), unlink(2), rename(2)
  kCallRing = 128,     // steps of writes by io_uring(7): queued, handed over, taken, reaped
};
inline constexpr uint32_t kCallsThatWrite =
    kCallOpen | kCallWrite | kCallTruncate | kCallSync | kCallAllocate | kCallName;

// While one lives, calls of `kinds` on files below `folder` are counted (madvise: on any memory),
// and the `nth` (1-based; 0: none) ends with `error`, undone. With the error kKillInstead the
// process is killed there; in a child of its own alone. A step of a ring can end in no other way.
// One at a time.
inline constexpr int kKillInstead = -1;
class CallFault {
 public:
  CallFault(const std::string& folder, uint32_t kinds, uint64_t nth, int error);
  ~CallFault();
  CallFault(const CallFault&) = delete;
  CallFault& operator=(const CallFault&) = delete;
  [[nodiscard]] uint64_t calls() const;
  [[nodiscard]] bool reached() const { return nth_ != 0 && calls() >= nth_; }

 private:
  const uint64_t nth_;
};

// What was done to the files below one folder while it lives, call by call. One at a time.
class CallRecord {
 public:
  // With `real_syncs` fdatasync and fsync reach the device; without that no page leaves its cache.
  explicit CallRecord(const std::string& folder, bool real_syncs = false);
  ~CallRecord();
  CallRecord(const CallRecord&) = delete;
  CallRecord& operator=(const CallRecord&) = delete;

  // Calls so far: what a cut is measured in.
  [[nodiscard]] size_t size() const;
  // Those of them that were writes by io_uring(7) which did well. Each may have reached the device
  // from when it was queued; a barrier covers it if it was over when the barrier began.
  [[nodiscard]] size_t ring_writes() const;

  // Builds in the empty folder `into` what a power loss after the first `cut` calls may leave.
  // Whatever a later fdatasync or fsync of the same file covers is there, and names that an fsync
  // of their folder covers. Of the rest each write is there, is not, or is torn by sectors of 512
  // bytes; a block of a hole comes whole or stays a hole, as file systems convert an extent after
  // its data; names come in their order, up to some point. A failed fsync covers nothing, and what
  // was before it no later one covers either: the kernel has forgotten it.
  void PowerLoss(size_t cut, std::mt19937_64& random, const std::string& into) const;

  struct Call;
  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace farpage::test
