// Waking a thread that sleeps beside its connection.
#include "fabric/doorbell.h"

#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "check.h"
#include "os/thread.h"

namespace farpage::test {

FARPAGE_TEST(doorbell_that_was_rung_before_lets_nobody_sleep) {
  Doorbell bell;
  bell.Ring();
  bell.Ring();
  bell.SleepBeside(nullptr, -1);
  CHECK(bell.rung());
  CHECK(bell.Take());
  CHECK(!bell.Take());
  bell.Keep();
  bell.SleepBeside(nullptr, -1);
  CHECK(bell.Take());
}

FARPAGE_TEST(doorbell_wakes_its_owner_each_time) {
  constexpr int kRings = 1000;
  Doorbell bell;
  std::atomic<int> heard{0};
  Thread owner("owner", [&] {
    while (heard.load() < kRings) {
      bell.SleepBeside(nullptr, -1);
      if (bell.Take()) heard.fetch_add(1);
    }
  });
  for (int ring = 0; ring < kRings; ring++) {
    bell.Ring();
    while (heard.load() <= ring) std::this_thread::yield();
  }
  owner.Join();
  CHECK_EQ(heard.load(), kRings);
}

FARPAGE_TEST(doorbell_without_a_descriptor_is_heard_all_the_same) {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  std::optional<Doorbell> bell(std::in_place);
  CHECK_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  std::atomic<bool> heard{false};
  Thread owner("owner", [&] {
    while (!bell->Take()) bell->SleepBeside(nullptr, -1);
    heard.store(true);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  bell->Ring();
  owner.Join();
  CHECK(heard.load());
}

}  // namespace farpage::test
