// Whether the threads that answer requests need every core there is.
#pragma once

#include <atomic>
#include <cstdint>

namespace farpage {

// How long after an answer its thread, and who polls for it at the other end, is about to go on.
inline constexpr uint64_t kAnsweringNs = 2'000'000;
// How often one thread tells of its answers, at most: others read what it writes.
inline constexpr uint64_t kToldEveryNs = 200'000;

// A thread that answers requests, for as long as it lives. One owner thread.
class AnsweringThread {
 public:
  AnsweringThread();
  ~AnsweringThread();
  AnsweringThread(const AnsweringThread&) = delete;
  AnsweringThread& operator=(const AnsweringThread&) = delete;

  // It has answered at about `now_ns` (NowNs). Costs a comparison.
  void Answered(uint64_t now_ns) {
    if (now_ns >= tell_ns_) Tell(now_ns);
  }

 private:
  void Tell(uint64_t now_ns);

  uint64_t tell_ns_ = 0;
};

// Processors that the pager is given beside the threads that answer.
inline constexpr int kPagerCores = 2;

// Whether so many processors are too few for so many threads that answer.
[[nodiscard]] constexpr bool AreShort(int processors, int threads) {
  return processors < 2 * threads + kPagerCores;
}

// True while some thread of this process has answered lately and the processors that the calling
// thread may run on (sched_getaffinity(2)) are fewer than two for each such thread, one of them
// for a client on this machine that polls for the answer, and two for the pager. Then long work
// takes its cores from them and is best done in short pieces: a thread that polls never sleeps,
// so the kernel takes a core back for it at the next tick at the earliest, 1 to 10 ms later.
// Where there are more, the kernel finds an idle one. Some 0.3 us. Thread: any.
[[nodiscard]] bool CoresAreShort();

}  // namespace farpage
