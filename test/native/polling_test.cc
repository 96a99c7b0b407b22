// How long a NIC thread polls, and that it sleeps after that.
#include <time.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "appliance_fixture.h"
#include "check.h"
#include "fabric/adaptive_spin.h"
#include "os/thread.h"
#include "os/work_in_pieces.h"
#include "short_cores.h"

namespace farpage::test {
namespace {

constexpr uint64_t kLongestNs = 20'000'000'000;

// A thread of this process by its name, seen from outside.
class Watched {
 public:
  explicit Watched(const std::string& name) {
    const uint64_t deadline = NowNs() + kLongestNs;
    while (tid_ == 0 && NowNs() < deadline) Seek(name);  // it gives itself its name
    CHECK(tid_ != 0);
  }
  // What it has computed so far; the clock of another thread (pthread_getcpuclockid(3)).
  [[nodiscard]] uint64_t CpuNs() const {
    timespec time{};
    CHECK_EQ(::clock_gettime((~static_cast<clockid_t>(tid_) << 3) | 6, &time), 0);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  }
  [[nodiscard]] bool Sleeps() const {
    std::ifstream stat("/proc/self/task/" + std::to_string(tid_) + "/stat");
    std::string word;
    for (int n = 0; n < 3; n++) stat >> word;  // number, name, state
    return word == "S";
  }
  // How often it has gone to sleep.
  [[nodiscard]] uint64_t Naps() const {
    std::ifstream status("/proc/self/task/" + std::to_string(tid_) + "/status");
    std::string word;
    uint64_t count = 0;
    while (status >> word && word != "voluntary_ctxt_switches:") {
    }
    status >> count;
    return count;
  }
  [[nodiscard]] bool AwaitSleep() const {
    const uint64_t deadline = NowNs() + kLongestNs;
    while (!Sleeps() && NowNs() < deadline) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return Sleeps();
  }

 private:
  void Seek(const std::string& name) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string found;
      std::ifstream(entry.path() / "comm") >> found;
      if (found == name) tid_ = std::stoi(entry.path().filename());
    }
  }
  int tid_ = 0;
};

}  // namespace

// However long it takes to look at all of them once.
FARPAGE_TEST(polling_of_several_connections_ends) {
  ApplianceOptions options;
  options.poll_us = 2000;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenAnonymous(kPageBytes, FillValueStore::Value::kZero);
  const Watched nic("nic-0");
  std::vector<std::unique_ptr<Initiator>> clients;
  uint64_t got = 0;
  for (size_t n = 0; n < kPolledConnectionsMax; n++) clients.push_back(appliance.Connect(true));
  for (int round = 0; round < 3; round++) {
    for (const auto& client : clients) {
      REQUIRE(client != nullptr);
      CHECK_EQ(int(Read(*client, stag, 0, &got, sizeof got).code), int(Code::kOk));
    }
  }
  CHECK(nic.AwaitSleep());
}

// Time in which it had no core does not count as polling in vain.
FARPAGE_TEST(polling_goes_on_after_a_time_without_a_core) {
  if (!MayPoll()) SKIP("nobody polls on one processor");
  ApplianceOptions options;
  options.poll_us = 20'000;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenAnonymous(kPageBytes, FillValueStore::Value::kZero);
  const Watched nic("nic-0");
  const auto client = appliance.Connect();
  REQUIRE(client != nullptr);
  const uint64_t deadline = NowNs() + kLongestNs;
  bool went_on = false;
  // Again where this thread came too late to take it away, or others had both for too long.
  while (!went_on && NowNs() < deadline) {
    uint64_t got = 0;
    uint64_t before_ns = 0;
    REQUIRE(Read(*client, stag, 0, &got, sizeof got).code == Code::kOk);
    appliance.nic->loops()[0]->PostAndWait([&] {
      before_ns = nic.CpuNs();
      // Longer than it polls, as somebody else's work.
      std::this_thread::sleep_for(std::chrono::microseconds(2 * options.poll_us));
    });
    REQUIRE(nic.AwaitSleep());
    went_on = nic.CpuNs() - before_ns > options.poll_us * 1000 / 4;
  }
  CHECK(went_on);
}

// But not for ever: where each look takes so long, it would never sleep.
FARPAGE_TEST(polling_ends_where_looks_are_slow) {
  constexpr uint64_t kSlowNs = 250'000'000;
  static_assert(kSlowNs > 2 * kAwayMaxNs);
  ApplianceOptions options;
  options.poll_us = 50'000;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenAnonymous(kPageBytes, FillValueStore::Value::kZero);
  const Watched nic("nic-0");
  const auto client = appliance.Connect();
  REQUIRE(client != nullptr);
  uint64_t got = 0;
  REQUIRE(Read(*client, stag, 0, &got, sizeof got).code == Code::kOk);
  EventLoop& loop = *appliance.nic->loops()[0];
  const uint64_t end = NowNs() + kSlowNs;
  std::atomic<uint64_t> before_ns{0};
  // One in each round, until that has taken as long.
  const std::function<void()> slow = [&] {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (NowNs() < end) {
      loop.Post(slow);
    } else {
      before_ns = nic.CpuNs();
    }
  };
  loop.Post(slow);
  while (before_ns == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  REQUIRE(nic.AwaitSleep());
  CHECK(nic.CpuNs() - before_ns < options.poll_us * 1000 / 2);
}

// Beside work in pieces it goes on for longer, and ends all the same.
FARPAGE_TEST(polling_goes_on_beside_work_in_pieces) {
  if (!MayPoll()) SKIP("nobody polls on one processor");
  Thread("short", [] {
    PinToProcessors(2);
    ApplianceOptions options;
    options.poll_us = 50;
    Appliance appliance(options);
    const uint32_t stag = appliance.OpenAnonymous(kPageBytes, FillValueStore::Value::kZero);
    const Watched nic("nic-0");
    const auto client = appliance.Connect();
    REQUIRE(client != nullptr);
    const auto& yields = appliance.nic->loops()[0]->stats().yields;
    const auto read = [&] {
      uint64_t got = 0;
      CHECK_EQ(int(Read(*client, stag, 0, &got, sizeof got).code), int(Code::kOk));
      CHECK(nic.AwaitSleep());
    };
    for (int n = 0; n < 16; n++) read();
    CHECK_EQ(yields.load(), 0u);
    {
      const WorkInPieces work;
      // Again where others had its core for so long that nobody was being answered any more.
      const uint64_t deadline = NowNs() + kLongestNs;
      while (yields == 0 && NowNs() < deadline) read();
      CHECK(yields != 0);
    }
    const uint64_t before = yields;
    for (int n = 0; n < 16; n++) read();
    CHECK_EQ(yields.load(), before);
  }).Join();
}

// No tick of its own wakes a loop whose peers are all at rest.
FARPAGE_TEST(polling_over_a_loop_sleeps_until_it_is_asked) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(kPageBytes, FillValueStore::Value::kZero);
  const Watched nic("nic-0");
  const auto client = appliance.Connect();
  REQUIRE(client != nullptr);
  uint64_t got = 0;
  REQUIRE(Read(*client, stag, 0, &got, sizeof got).code == Code::kOk);
  REQUIRE(nic.AwaitSleep());
  // Something may still be under way when it is first seen asleep; a timer would come in every one
  // of these, each longer than two of it.
  bool slept = false;
  for (int n = 0; n < 5 && !slept; n++) {
    const uint64_t naps = nic.Naps();
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    slept = nic.Naps() == naps;
  }
  CHECK(slept);
}

}  // namespace farpage::test
