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
};

// Jobs waiting for a thread, at most; further ones fail with kQuota.
inline constexpr size_t kWriteBackJobsMax = 1024;
// Regions whose write-back waits for a program or a peer at a time, at most.
inline constexpr size_t kSlowLanesMax = 32;

// One thread for stores on devices, because the device is the limit, and others for regions whose
// write-back waits for a program or a peer: each is that of one region at a time, started when it
// is needed and kept. Jobs of one region follow one another. Thread: any may submit.
class WriteBackLanes {
 public:
  using Run = std::function<void(WriteBackJob)>;

  // `run` is called for each job on the thread that it got.
  explicit WriteBackLanes(Run run);
  ~WriteBackLanes() { Close(); }

  // Whether the region's write-back may wait for somebody who is no device.
  static bool IsSlow(const Region& region);

  // Moves the job away unless it is refused: kClosed, kQuota.
  Code Submit(WriteBackJob& job);

  // Ends after the jobs that were submitted; idempotent.
  void Close();

 private:
  void Loop();
  void LoopSlow();
  // The first job of a region that no lane works for, taken from its queue. Requires the lock.
  bool TakeSlow(WriteBackJob* job);
  size_t ReadyRegions() const;

  const Run run_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::condition_variable slow_wake_;
  std::deque<WriteBackJob> jobs_;
  std::deque<WriteBackJob> slow_jobs_;
  std::vector<const Region*> busy_;  // that a lane works for
  size_t idle_ = 0;
  bool closing_ = false;
  std::vector<Thread> lanes_;
  Thread thread_;
};

}  // namespace farpage
