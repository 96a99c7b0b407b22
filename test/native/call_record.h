// What a CallRecord keeps, for those who fill it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "system_calls.h"

namespace farpage::test {

struct CallRecord::Call {
  enum class What : uint8_t {
    kWrite, kTruncate, kSync, kFailedSync, kCreate, kLink, kRename, kUnlink
  };
  What what;
  uint64_t file = 0;  // inode; of a folder's fsync the folder's
  uint64_t folder = 0;
  std::string name;  // in its folder
  std::string from;  // the name that a rename takes away
  uint64_t at = 0;   // offset, or length
  std::vector<std::byte> bytes;
  size_t covers = 0;    // of a sync: the calls before this one
  size_t ended_by = 0;  // of what takes its time: the calls that had been made when it was over
};

struct CallRecord::State {
  std::string folder;
  bool real_syncs = false;
  std::atomic<size_t> ring_writes{0};
  std::mutex mutex;
  std::vector<Call> calls;

  size_t Size() {
    const std::lock_guard lock(mutex);
    return calls.size();
  }
  void Add(Call call) {
    const std::lock_guard lock(mutex);
    calls.push_back(std::move(call));
  }
  // A call that ends later, or never; its number.
  size_t Begin(Call call) {
    const std::lock_guard lock(mutex);
    call.ended_by = std::numeric_limits<size_t>::max();
    calls.push_back(std::move(call));
    return calls.size() - 1;
  }
  void End(size_t number) {
    const std::lock_guard lock(mutex);
    calls[number].ended_by = calls.size();
  }
  // It changed nothing.
  void Undo(size_t number) {
    const std::lock_guard lock(mutex);
    calls[number].bytes.clear();
  }
};

// Who records the calls on this file now; null: nobody.
CallRecord::State* RecordOf(int fd);

// A step of a write by io_uring(7), on a file or (-1) on whatever the ring writes: a CallFault may
// end the process here.
void RingStep(int fd);

}  // namespace farpage::test
