// Grace periods: who waits for whom, and for whom not.
#include <atomic>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "memory/shootdown.h"

namespace farpage::test {
namespace {

void Nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

}  // namespace

FARPAGE_TEST(shootdown_waits_for_the_turn_under_way_and_for_no_later_one) {
  Shootdown shootdown;
  TurnCounter* counter = shootdown.Register();
  REQUIRE(counter != nullptr);
  counter->Begin();
  std::atomic<bool> over{false};
  std::thread waiter([&] {
    shootdown.WaitGracePeriod();
    over.store(true);
  });
  Nap(30);
  CHECK(!over.load());
  counter->End();
  counter->Begin();  // a turn that began later: the waiter must get away all the same
  const uint64_t deadline = NowNs() + 5'000'000'000;
  while (!over.load() && NowNs() < deadline) Nap(1);
  CHECK(over.load());
  counter->End();
  waiter.join();
  CHECK_EQ(shootdown.grace_periods(), 1u);
  shootdown.Unregister(counter);
}

FARPAGE_TEST(shootdown_has_a_bound_of_counters_and_takes_them_back) {
  Shootdown shootdown;
  std::vector<TurnCounter*> counters;
  for (uint32_t n = 0; n < kTurnCountersMax; n++) counters.push_back(shootdown.Register());
  for (TurnCounter* counter : counters) CHECK(counter != nullptr);
  CHECK(shootdown.Register() == nullptr);
  shootdown.Unregister(counters[7]);
  CHECK(shootdown.Register() == counters[7]);
}

// Two threads act in turns on a right that a third takes away: after the grace period nobody may
// still act. What they act on is a slot that the third reuses, so a late one shows as a torn pair.
FARPAGE_TEST(shootdown_nobody_acts_on_an_old_look_after_the_grace_period) {
  Shootdown shootdown;
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> right{1};
  std::atomic<uint64_t> slot{0};
  std::atomic<uint64_t> acted{0};
  std::vector<std::thread> actors;
  for (int n = 0; n < 2; n++) {
    actors.emplace_back([&] {
      TurnCounter* counter = shootdown.Register();
      while (!stop.load(std::memory_order_relaxed)) {
        Turn turn(counter);
        for (int k = 0; k < 20; k++) {
          if (right.load(std::memory_order_relaxed) == 0) break;
          for (int pause = 0; pause < 50; pause++) SpinPause();  // an old look, for a while
          slot.fetch_add(1, std::memory_order_relaxed);
          acted.fetch_add(1, std::memory_order_relaxed);
        }
      }
      shootdown.Unregister(counter);
    });
  }
  const uint64_t end = NowNs() + 300'000'000;
  uint64_t broken = 0;
  uint64_t rounds = 0;
  // Ten rounds whatever else the machine does meanwhile, within a bound.
  const uint64_t late = end + 20'000'000'000;
  while (NowNs() < end || (rounds <= 10 && NowNs() < late)) {
    right.store(0, std::memory_order_seq_cst);
    shootdown.WaitGracePeriod();
    const uint64_t before = slot.load(std::memory_order_relaxed);
    for (int k = 0; k < 200; k++) {
      SpinPause();
      if (slot.load(std::memory_order_relaxed) != before) broken++;
    }
    right.store(1, std::memory_order_seq_cst);
    rounds++;
    std::this_thread::yield();
  }
  stop.store(true);
  for (std::thread& actor : actors) actor.join();
  CHECK_EQ(broken, 0u);
  CHECK(rounds > 10);
  CHECK(acted.load() > 0);
}

}  // namespace farpage::test
