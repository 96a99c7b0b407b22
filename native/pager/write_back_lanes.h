// Whose thread a write-back runs on: a slow store delays its own region and no other.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/region.h"
#include "os/thread.h"

namespace farpage {

struct WriteBackReceipt {
  uint64_t pages_written = 0;
  uint64_t bytes_written = 0;
  uint64_t elapsed_ns = 0;
};
using WriteBackDone = std::function<void(Result<WriteBackReceipt>)>;

// What one call of Submit asks for.
struct WriteBackJob {
  std::shared_ptr<Region> region;
  PageRun run;
  bool durable = false;
  WriteBackDone done;
  // Writes nothing: what was written before becomes durable.
  bool hardens = false;
};

// Jobs waiting for a thread, at most; further ones fail with kQuota.
inline constexpr size_t kWriteBackJobsMax = 1024;
// Regions whose write-back waits for a program or a peer at a time, at most.
inline constexpr size_t kSlowLanesMax = 32;
// Regions whose write-back a device or a file system holds up at a time, and one more that goes on,
// at most.
inline constexpr size_t kFileLanesMax = 16;
// How long a write-back to a device takes before others stop waiting for it.
inline constexpr uint64_t kStuckNs = 500'000'000;

// Stores on devices are written by one thread at a time, because the device is the limit; one that
// takes long is waited for no longer, and another thread goes on. Regions whose write-back waits
// for a program or a peer have a thread each. Threads are started when they are needed and kept.
// Jobs of one region follow one another. Thread: any may submit.
class WriteBackLanes {
 public:
  using Run = std::function<void(WriteBackJob)>;

  // `run` is called for each job on the thread that it got.
  explicit WriteBackLanes(Run run) : run_(std::move(run)) {}
  ~WriteBackLanes() { Close(); }

  // Whether the region's write-back may wait for somebody who is no device.
  static bool IsSlow(const Region& region);

  // Moves the job away unless it is refused: kClosed, kQuota.
  Code Submit(WriteBackJob& job);

  // Ends after the jobs that were submitted; idempotent.
  void Close();

 private:
  struct Running {
    const Region* region;
    uint64_t since_ns;
  };
  // The lanes of one kind of store. Guarded by the lock.
  struct Side {
    const size_t lanes_max;
    const bool one_at_a_time;  // but for what is stuck
    std::condition_variable wake;
    std::deque<WriteBackJob> jobs;
    std::vector<Running> running;
    size_t idle = 0;
    std::vector<Thread> lanes;
  };
  void Loop(Side& side);
  // The rest requires the lock.
  void AddLane(Side& side);
  // The first job whose turn it is; none: `look_ns` is when to look again, 0 when told to.
  static bool Take(Side& side, WriteBackJob* job, uint64_t* look_ns);
  static size_t ReadyRegions(const Side& side);

  const Run run_;
  std::mutex mutex_;  // guards what follows
  Side files_{kFileLanesMax, true, {}, {}, {}, 0, {}};
  Side slow_{kSlowLanesMax, false, {}, {}, {}, 0, {}};
  bool closing_ = false;
};

}  // namespace farpage
