// The end of threads that wait for work.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "os/thread.h"

namespace farpage {

// Says so to them under the lock that guards both, and joins them once they have ended. Idempotent;
// none is started any more when `closing` is set. Thread: any but these.
inline void JoinAll(std::mutex& mutex, bool* closing, std::vector<Thread>* threads,
                    std::condition_variable& wake) {
  std::vector<Thread> ending;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    *closing = true;
    ending.swap(*threads);
  }
  wake.notify_all();
  for (Thread& thread : ending) thread.Join();
}

}  // namespace farpage
