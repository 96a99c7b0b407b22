#include "os/short_cores.h"

#include <sched.h>

#include "base/clock.h"

namespace farpage {
namespace {

std::atomic<int> answering_threads{0};
std::atomic<uint64_t> answered_ns{0};

}  // namespace

AnsweringThread::AnsweringThread() { answering_threads.fetch_add(1, std::memory_order_relaxed); }

AnsweringThread::~AnsweringThread() { answering_threads.fetch_sub(1, std::memory_order_relaxed); }

void AnsweringThread::Tell(uint64_t now_ns) {
  tell_ns_ = now_ns + kToldEveryNs;
  answered_ns.store(now_ns, std::memory_order_relaxed);
}

bool CoresAreShort() {
  const int threads = answering_threads.load(std::memory_order_relaxed);
  if (threads == 0 || NowNs() > answered_ns.load(std::memory_order_relaxed) + kAnsweringNs) {
    return false;
  }
  cpu_set_t cores;
  CPU_ZERO(&cores);
  // More processors than the set holds (EINVAL) are certainly enough.
  return ::sched_getaffinity(0, sizeof cores, &cores) == 0 &&
         AreShort(CPU_COUNT(&cores), threads);
}

}  // namespace farpage
