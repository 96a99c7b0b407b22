// Threads for requests: who is stuck holds up no other.
#include "pager/request_lanes.h"
#include "slow_fixture.h"

namespace farpage::test {
namespace {

// Requests of regions that a test has made up.
struct Requests {
  ~Requests() { gate.Open(); }
  Code Ask(size_t region, std::function<void()> work) {
    asked++;
    return lanes.Submit(&regions[region], [this, work = std::move(work)] {
      work();
      done++;
    });
  }
  bool AwaitDone(uint64_t count) const {
    const uint64_t deadline = NowNs() + kPatienceNs;
    while (done < count && NowNs() < deadline) Nap(1);
    return done == count;
  }

  std::array<char, kRequestThreadsMax + 8> regions{};
  Gate gate;
  std::atomic<uint64_t> asked{0};
  std::atomic<uint64_t> done{0};
  RequestLanes lanes;  // goes first
};

}  // namespace

FARPAGE_TEST(request_lanes_go_on_beside_regions_that_are_stuck) {
  Requests test;
  const auto stick = [&test] { test.gate.Pass(); };
  for (int n = 0; n < 8; n++) CHECK_EQ(int(test.Ask(0, stick)), 0);
  for (int n = 0; n < 8; n++) CHECK_EQ(int(test.Ask(1, stick)), 0);
  REQUIRE(test.gate.AwaitHeld(2 * kRequestsPerRegion));
  for (uint64_t n = 1; n <= 20; n++) {
    CHECK_EQ(int(test.Ask(2 + n % 2, [] {})), 0);
    REQUIRE(test.AwaitDone(n));
  }
  // No more of the stuck ones have begun than may.
  CHECK(test.gate.AwaitHeld(2 * kRequestsPerRegion));
  test.gate.Open();
  CHECK(test.AwaitDone(36));
}

FARPAGE_TEST(request_lanes_are_bounded_and_end_with_what_was_asked) {
  Requests test;
  const auto stick = [&test] { test.gate.Pass(); };
  // More regions are stuck than there are threads.
  for (size_t n = 0; n < test.regions.size(); n++) CHECK_EQ(int(test.Ask(n, stick)), 0);
  REQUIRE(test.gate.AwaitHeld(kRequestThreadsMax));
  Code refused = Code::kOk;
  while (refused == Code::kOk && test.asked <= 2 * kRequestsMax) refused = test.Ask(0, stick);
  CHECK_EQ(int(refused), int(Code::kQuota));
  const uint64_t taken = test.asked - 1;
  CHECK_EQ(taken, kRequestThreadsMax + kRequestsMax);
  // None of them has ended when the end begins.
  Thread closer("closer", [&test] { test.lanes.Close(); });
  const uint64_t deadline = NowNs() + kPatienceNs;
  while (refused == Code::kQuota && NowNs() < deadline) {
    Nap(1);
    refused = test.Ask(0, stick);
  }
  CHECK_EQ(int(refused), int(Code::kClosed));
  test.gate.Open();
  closer.Join();
  CHECK_EQ(test.done.load(), taken);
}

}  // namespace farpage::test
