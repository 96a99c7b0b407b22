// Whose thread a request about a region waits on: those of one region hold up no other's.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "os/thread.h"

namespace farpage {

// Requests of one region that are worked on at a time; more wait for these.
inline constexpr size_t kRequestsPerRegion = 2;
// Threads, at most: as many regions may be stuck as there are lanes for slow stores, and two more.
inline constexpr size_t kRequestThreadsMax = 66;
// Requests that wait for a thread, at most; more are refused with kQuota.
inline constexpr size_t kRequestsMax = 4096;

// Threads for requests that wait for grace periods, sweeps, stores and tiers, started when they are
// needed and kept. Thread: any may submit.
class RequestLanes {
 public:
  RequestLanes() = default;
  ~RequestLanes() { Close(); }

  // Runs `work` for the region that `whose` stands for. Refuses: kClosed, kQuota.
  Code Submit(const void* whose, std::function<void()> work);

  // Ends after the requests that were submitted; idempotent.
  void Close();

 private:
  struct Request {
    const void* whose;
    std::function<void()> work;
  };
  void Loop();
  // The rest requires the lock.
  [[nodiscard]] bool MayRun(const void* whose) const;
  bool Take(Request* request);

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Request> waiting_;
  std::vector<const void*> running_;  // whose
  size_t idle_ = 0;
  bool closing_ = false;
  std::vector<Thread> threads_;
};

}  // namespace farpage
