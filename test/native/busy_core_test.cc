// When a thread is better off on another core, and how it gets there.
#include <sched.h>

#include "check.h"
#include "os/busy_core.h"
#include "os/thread.h"
#include "short_cores.h"

namespace farpage::test {

FARPAGE_TEST(busy_core_is_left_by_who_waited_for_it) {
  BusyCore core;
  uint64_t now = 5'000'000'000;
  CHECK(!core.Judge(now, kCoreWaitNs));  // not long enough
  CHECK(core.Judge(now, kCoreWaitNs + 1));
  CHECK(!core.Judge(now + kLeaveEveryNs - 1, 5 * kCoreWaitNs));  // just left
  now += 10 * kLeaveEveryNs;
  CHECK(core.Judge(now, 5 * kCoreWaitNs));
  now += 10 * kLeaveEveryNs;
  CHECK(core.Judge(now, 5 * kCoreWaitNs));  // not soon again: as often as ever
}

FARPAGE_TEST(busy_core_is_left_less_often_while_that_is_in_vain) {
  BusyCore core;
  uint64_t now = 5'000'000'000;
  CHECK(core.Judge(now, 2 * kCoreWaitNs));
  uint64_t every = kLeaveEveryNs;
  while (every < kLeaveEveryNsMax) {
    CHECK(!core.Judge(now + every - 1, 2 * kCoreWaitNs));
    now += every;
    CHECK(core.Judge(now, 2 * kCoreWaitNs));
    every = std::min(2 * every, kLeaveEveryNsMax);
  }
  CHECK(!core.Judge(now + kLeaveEveryNsMax - 1, 2 * kCoreWaitNs));
  now += 4 * kLeaveEveryNsMax;
  CHECK(core.Judge(now, 2 * kCoreWaitNs));
  now += kLeaveEveryNs;
  CHECK(core.Judge(now, 2 * kCoreWaitNs));  // it had helped for long
}

FARPAGE_TEST(busy_core_is_left_for_another_one_that_is_permitted) {
  Thread("core", [] {
    cpu_set_t before;
    CPU_ZERO(&before);
    CHECK_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
    // The kernel may bring the thread back at once; not every time.
    bool elsewhere = CPU_COUNT(&before) == 1;
    const uint64_t deadline = NowNs() + 20'000'000'000;
    while (!elsewhere && NowNs() < deadline) {
      const int core = ::sched_getcpu();
      CHECK(LeaveCore());
      elsewhere = ::sched_getcpu() != core;
    }
    CHECK(elsewhere);
    cpu_set_t after;
    CPU_ZERO(&after);
    CHECK_EQ(::sched_getaffinity(0, sizeof after, &after), 0);
    CHECK(CPU_EQUAL(&before, &after));
    PinToOneProcessor();
    CHECK(!LeaveCore());
  }).Join();
}

}  // namespace farpage::test
