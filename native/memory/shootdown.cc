#include "memory/shootdown.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

namespace farpage {
namespace {

// Looks before the waiter yields its core, and before it sleeps: a turn is a few microseconds.
constexpr int kSpinLooks = 200;
constexpr int kYieldLooks = 400;
constexpr long kSleepNs = 20'000;

// ThreadSanitizer knows fences and atomics but not membarrier: let it see the fence.
#if defined(__SANITIZE_THREAD__)
constexpr bool kAlwaysFence = true;
#else
constexpr bool kAlwaysFence = false;
#endif

bool RegisterMembarrier() {
  return !kAlwaysFence &&
         ::syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

const bool have_membarrier = RegisterMembarrier();

}  // namespace

void TurnCounter::Begin() {
  const uint64_t now = value_.load(std::memory_order_relaxed);
  FARPAGE_CHECK((now & 1) == 0, "a turn inside a turn");
  if (have_membarrier) {
    value_.store(now + 1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    value_.exchange(now + 1, std::memory_order_seq_cst);
  }
}

void TurnCounter::End() {
  const uint64_t now = value_.load(std::memory_order_relaxed);
  FARPAGE_CHECK((now & 1) == 1, "the end of a turn that was not begun");
  value_.store(now + 1, std::memory_order_release);
}

Shootdown::Shootdown() = default;

TurnCounter* Shootdown::Register() {
  for (auto& counter : counters_) {
    bool expected = false;
    if (counter.used_.compare_exchange_strong(expected, true, std::memory_order_seq_cst)) {
      return &counter;
    }
  }
  return nullptr;
}

void Shootdown::Unregister(TurnCounter* counter) {
  counter->used_.store(false, std::memory_order_release);
}

void Shootdown::WaitGracePeriod() {
  if (have_membarrier) {
    ::syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  for (auto& counter : counters_) {
    const uint64_t seen = counter.value_.load(std::memory_order_seq_cst);
    if ((seen & 1) == 0) continue;
    for (int look = 0; counter.value_.load(std::memory_order_acquire) == seen; look++) {
      if (look < kSpinLooks) {
        SpinPause();
      } else if (look < kYieldLooks) {
        ::sched_yield();
      } else {
        const timespec nap{0, kSleepNs};
        ::nanosleep(&nap, nullptr);
      }
    }
  }
  grace_periods_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace farpage
