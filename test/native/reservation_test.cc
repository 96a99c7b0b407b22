// Regions that are reserved and allocated when they are first touched: once, under the same STag,
// or not at all, with the reason told to who touched them.
#include <thread>

#include "appliance_fixture.h"
#include "check.h"
#include "quiet.h"

namespace farpage::test {
namespace {

constexpr uint64_t kBytes = 512 * 1024;

// What the opener of a test does and has seen.
struct Opening {
  std::atomic<uint32_t> tries{0};
  std::atomic<uint32_t> failures{0};  // so many tries fail first
  std::atomic<Code> failure{Code::kFileNotFound};
  std::atomic<bool> hold{false};
};

Result<std::shared_ptr<Region>> OpenFilled(uint64_t size, FillValueStore::Value value) {
  auto store = std::make_unique<FillValueStore>(value);
  auto memory = StagedMemory::Create(size, store.get());
  if (!memory.ok()) return memory.error();
  auto table = PageTable::Create((size + kPageBytes - 1) >> kPageShift);
  if (!table.ok()) return table.error();
  Region::Options options;
  options.size_bytes = size;
  options.writable = true;
  return std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                  std::move(memory).value());
}

std::shared_ptr<Reservation> Reserve(Appliance& appliance, Opening& opening,
                                     uint64_t size = kBytes) {
  return std::make_shared<Reservation>(
      size, true, appliance.pager.account(),
      [&opening, size]() -> Result<std::shared_ptr<Region>> {
        const uint32_t number = ++opening.tries;
        while (opening.hold.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (number <= opening.failures.load()) return Error{opening.failure.load(), 0, "test"};
        return OpenFilled(size, FillValueStore::Value::kOne);
      });
}

void AwaitTries(const Opening& opening, uint32_t tries) {
  const uint64_t deadline = NowNs() + 10'000'000'000;
  while (opening.tries.load() < tries && NowNs() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(opening.tries.load() >= tries);
}

// Posts a READ and leaves it; its answer is for later.
void PostRead(Initiator& initiator, uint32_t stag, std::byte* into) {
  WorkRequest request;
  request.stag = stag;
  request.length_bytes = 8;
  request.local = into;
  CHECK_EQ(initiator.Post({&request, 1}), 1u);
  initiator.Flush();
}

Code Await(Initiator& initiator) {
  Completion completion;
  const uint64_t deadline = NowNs() + 10'000'000'000;
  while (initiator.Poll({&completion, 1}) == 0) {
    if (Status waited = initiator.Wait(20'000, deadline); !waited.ok()) {
      return waited.error().code;
    }
  }
  return completion.code;
}

}  // namespace

FARPAGE_TEST(reservation_takes_nothing_until_it_is_touched) {
  Appliance appliance;
  Opening opening;
  const auto reservation = Reserve(appliance, opening);
  const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
  auto initiator = appliance.Connect();
  REQUIRE(initiator != nullptr);
  CHECK(reservation->region() == nullptr);
  CHECK_EQ(appliance.pager.account()->bytes(), 0u);
  // What is refused needs no region.
  uint64_t word = 0;
  CHECK_EQ(int(Read(*initiator, stag, kBytes - 4, &word, 8).code), int(Code::kBounds));
  CHECK_EQ(opening.tries.load(), 0u);
  initiator = appliance.Connect();
  CHECK_EQ(int(Read(*initiator, stag, kBytes - 8, &word, 8).code), int(Code::kOk));
  CHECK_EQ(word, ~uint64_t{0});
  CHECK_EQ(opening.tries.load(), 1u);
  CHECK_EQ(appliance.pager.account()->bytes(), kBytes);
  REQUIRE(reservation->region() != nullptr);
  const OperationCounters& lane = reservation->region()->operations[0];
  CHECK_EQ(lane.faulted.load(), 1u);
  CHECK_EQ(lane.bypassed.load(), 0u);
  CHECK_EQ(int(Read(*initiator, stag, kBytes - 8, &word, 8).code), int(Code::kOk));
  CHECK_EQ(lane.bypassed.load(), 1u);
  CHECK_EQ(opening.tries.load(), 1u);
  const std::weak_ptr<Region> region = reservation->region();
  appliance.pager.EndReservation(reservation);
  // The STag has the reservation still; the files of the region's memory are closed.
  CHECK(region.expired());
  CHECK_EQ(appliance.pager.account()->bytes(), 0u);
  CHECK_EQ(appliance.pager.budget().used(), 0u);
  CHECK_EQ(int(Read(*initiator, stag, 0, &word, 8).code), int(Code::kRegionRemoved));
}

FARPAGE_TEST(reservation_is_allocated_by_writes_and_atomics_too) {
  for (int kind = 0; kind < 3; kind++) {
    Appliance appliance;
    Opening opening;
    const auto reservation = Reserve(appliance, opening);
    const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
    auto initiator = appliance.Connect(kind == 1);
    std::vector<std::byte> bytes(5 * kPageBytes, std::byte{7});
    if (kind < 2) {
      const auto length = static_cast<uint32_t>(kind == 0 ? 10 : bytes.size());
      CHECK_EQ(int(Write(*initiator, stag, 100, bytes.data(), length).code), int(Code::kOk));
      std::vector<std::byte> found(length);
      CHECK_EQ(int(Read(*initiator, stag, 100, found.data(), length).code), int(Code::kOk));
      CHECK(std::equal(found.begin(), found.end(), bytes.begin()));
    } else {
      WorkRequest add;
      add.opcode = Opcode::kFetchAdd;
      add.stag = stag;
      add.remote_offset = 8;
      add.operand = 1;
      const Completion done = Do(*initiator, add);
      CHECK_EQ(int(done.code), int(Code::kOk));
      CHECK_EQ(done.old_value, ~uint64_t{0});
    }
    CHECK_EQ(opening.tries.load(), 1u);
    appliance.pager.EndReservation(reservation);
  }
}

FARPAGE_TEST(reservation_touched_by_many_at_once_is_allocated_once) {
  for (int round = 0; round < 20; round++) {
    ApplianceOptions options;
    options.nic_threads = 2;
    Appliance appliance(options);
    Opening opening;
    const auto reservation = Reserve(appliance, opening);
    const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
    // The same region under another STag, as another session has it.
    const uint32_t other = appliance.domain->Register(reservation, 8, 64, false).value();
    std::atomic<uint32_t> ready{0};
    std::vector<std::thread> threads;
    for (uint32_t n = 0; n < 4; n++) {
      threads.emplace_back([&, n] {
        auto initiator = appliance.Connect(n % 2 == 0, false, 16);
        ready++;
        while (ready.load() != 4) std::this_thread::yield();
        uint64_t word = 0;
        const Completion done =
            n < 2 ? Read(*initiator, n == 0 ? stag : other, 0, &word, 8)
                  : Write(*initiator, stag, n * kPageBytes, &word, 8);
        CHECK_EQ(int(done.code), int(Code::kOk));
        if (n < 2) CHECK_EQ(word, ~uint64_t{0});
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(opening.tries.load(), 1u);
    CHECK_EQ(appliance.pager.account()->bytes(), kBytes);
    appliance.pager.EndReservation(reservation);
  }
}

namespace {

void CheckTellsWhy(Code why) {
  Appliance appliance;
  Opening opening;
  opening.failures = 2;
  opening.failure = why;
  const auto reservation = Reserve(appliance, opening);
  const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
  uint64_t word = 0;
  auto reader = appliance.Connect();
  CHECK_EQ(int(Read(*reader, stag, 0, &word, 8).code), int(why));
  auto writer = appliance.Connect();
  CHECK_EQ(int(Write(*writer, stag, 0, &word, 8).code), int(why));
  CHECK_EQ(int(reservation->failure.load()), int(why));
  CHECK_EQ(appliance.pager.account()->bytes(), 0u);
  reader = appliance.Connect();
  CHECK_EQ(int(Read(*reader, stag, 0, &word, 8).code), int(Code::kOk));
  CHECK_EQ(int(reservation->failure.load()), int(Code::kOk));
  CHECK_EQ(opening.tries.load(), 3u);
  appliance.pager.EndReservation(reservation);
}

}  // namespace

FARPAGE_TEST(reservation_that_cannot_be_allocated_tells_why_and_is_tried_again) {
  CheckTellsWhy(Code::kFileNotFound);
  CheckTellsWhy(Code::kMemoryFull);
}

FARPAGE_TEST(reservation_without_room_in_an_account_is_refused_when_it_is_touched) {
  Appliance appliance;
  Opening opening;
  const auto session =
      std::make_shared<AllocationAccount>(kBytes + kPageBytes, appliance.pager.account());
  const auto reserve = [&] {
    return std::make_shared<Reservation>(kBytes, true, session, [&] {
      opening.tries++;
      return OpenFilled(kBytes, FillValueStore::Value::kOne);
    });
  };
  const auto first = reserve();
  const auto second = reserve();
  const uint32_t one = appliance.domain->Register(first, 0, kBytes, true).value();
  const uint32_t two = appliance.domain->Register(second, 0, kBytes, true).value();
  uint64_t word = 0;
  auto initiator = appliance.Connect();
  CHECK_EQ(int(Read(*initiator, one, 0, &word, 8).code), int(Code::kOk));
  CHECK_EQ(int(Read(*initiator, two, 0, &word, 8).code), int(Code::kQuota));
  CHECK_EQ(opening.tries.load(), 1u);
  CHECK_EQ(appliance.pager.account()->bytes(), kBytes);
  appliance.pager.EndReservation(first);
  CHECK_EQ(session->bytes(), 0u);
  initiator = appliance.Connect();
  CHECK_EQ(int(Read(*initiator, two, 0, &word, 8).code), int(Code::kOk));
  appliance.pager.EndReservation(second);
  CHECK_EQ(appliance.pager.account()->bytes(), 0u);
}

FARPAGE_TEST(reservation_ended_while_it_is_allocated) {
  Appliance appliance;
  Opening opening;
  opening.hold = true;
  const auto reservation = Reserve(appliance, opening);
  const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
  auto initiator = appliance.Connect();
  std::byte into[8];
  PostRead(*initiator, stag, into);
  AwaitTries(opening, 1);
  std::atomic<bool> ended{false};
  std::thread ender([&] {
    appliance.pager.EndReservation(reservation);
    ended.store(true);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  CHECK(!ended.load());
  opening.hold = false;
  ender.join();
  // It was served just before, or heard that the region had gone.
  const Code code = Await(*initiator);
  CHECK(code == Code::kOk || code == Code::kRegionRemoved);
  CHECK_EQ(appliance.pager.account()->bytes(), 0u);
  CHECK_EQ(appliance.pager.budget().used(), 0u);
  CHECK_EQ(int(appliance.domain->Register(reservation, 0, 8, false).error().code),
           int(Code::kRegionRemoved));
}

FARPAGE_TEST(reservation_ended_before_anybody_touched_it) {
  Appliance appliance;
  Opening opening;
  const auto reservation = Reserve(appliance, opening);
  const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
  appliance.pager.EndReservation(reservation);
  auto initiator = appliance.Connect();
  uint64_t word = 0;
  CHECK_EQ(int(Read(*initiator, stag, 0, &word, 8).code), int(Code::kRegionRemoved));
  CHECK_EQ(opening.tries.load(), 0u);
}

FARPAGE_TEST(reservation_whose_session_ends_while_it_is_allocated) {
  Appliance appliance;
  Opening opening;
  opening.hold = true;
  const auto reservation = Reserve(appliance, opening);
  const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
  auto initiator = appliance.Connect();
  std::byte into[8];
  PostRead(*initiator, stag, into);
  AwaitTries(opening, 1);
  appliance.nic->CloseDomain(appliance.domain);
  appliance.domain->DeregisterAll(nullptr);
  CHECK_EQ(int(Await(*initiator)), int(Code::kConnection));
  opening.hold = false;
  CHECK(appliance.pager.Allocate(reservation).ok());
  CHECK_EQ(opening.tries.load(), 1u);
  // The old STag stays dead, a new one leads to what was allocated.
  CHECK(appliance.domain->Find(stag)->removed());
  const auto later = std::make_shared<ProtectionDomain>(appliance.pager.shootdown(), 4);
  const uint32_t again = later->Register(reservation, 0, kBytes, true).value();
  CHECK(later->Find(again)->region == reservation->region());
  appliance.pager.EndReservation(reservation);
  CHECK(later->Find(again)->removed());
}

FARPAGE_TEST(reservation_touched_by_a_nic_that_stops_meanwhile) {
  Appliance appliance;
  Opening opening;
  opening.hold = true;
  const auto reservation = Reserve(appliance, opening);
  const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
  auto initiator = appliance.Connect();
  std::byte into[8];
  PostRead(*initiator, stag, into);
  AwaitTries(opening, 1);
  appliance.nic->Stop();
  CHECK_EQ(int(Await(*initiator)), int(Code::kConnection));
  opening.hold = false;
  appliance.pager.EndReservation(reservation);
}

// A standard peer's requests are answered in order: those behind one that waits for its region
// ask for theirs meanwhile.
FARPAGE_TEST(reservation_of_requests_behind_another_one_are_asked_for_ahead) {
  Appliance appliance;
  Opening slow;
  Opening behind;
  slow.hold = true;
  const auto first = Reserve(appliance, slow);
  const auto second = Reserve(appliance, behind);
  const uint32_t one = appliance.domain->Register(first, 0, kBytes, true).value();
  const uint32_t two = appliance.domain->Register(second, 0, kBytes, true).value();
  auto initiator = appliance.Connect(false, false, 16, kFlagReason);
  uint64_t words[3]{};
  PostRead(*initiator, one, reinterpret_cast<std::byte*>(&words[0]));
  AwaitTries(slow, 1);
  PostRead(*initiator, two, reinterpret_cast<std::byte*>(&words[1]));
  slow.hold = false;
  CHECK_EQ(int(Await(*initiator)), int(Code::kOk));
  CHECK_EQ(int(Await(*initiator)), int(Code::kOk));
  CHECK_EQ(words[0], ~uint64_t{0});
  CHECK_EQ(words[1], ~uint64_t{0});
  appliance.pager.EndReservation(first);
  appliance.pager.EndReservation(second);
}

// Touches, STags that come and go, and the end, all at once.
FARPAGE_TEST(reservation_under_everything_at_once) {
  for (int round = 0; round < 10; round++) {
    ApplianceOptions options;
    options.nic_threads = 2;
    Appliance appliance(options);
    Opening opening;
    opening.failures = round % 3 == 0 ? 2 : 0;
    const auto reservation = Reserve(appliance, opening);
    const uint32_t stag = appliance.domain->Register(reservation, 0, kBytes, true).value();
    std::atomic<bool> stop{false};
    std::atomic<uint32_t> told{0};
    std::vector<std::thread> threads;
    for (uint32_t n = 0; n < 3; n++) {
      threads.emplace_back([&, n] {
        auto initiator = appliance.Connect(n == 0, false, 16);
        const uint64_t deadline = NowNs() + 20'000'000'000;
        while (initiator != nullptr && NowNs() < deadline) {
          uint64_t word = 0;
          const Completion done = n == 1 ? Write(*initiator, stag, 8 * n, &word, 8)
                                         : Read(*initiator, stag, 8 * n, &word, 8);
          if (done.code == Code::kOk) continue;
          if (done.code == Code::kRegionRemoved) {
            told++;
            return;
          }
          initiator = appliance.Connect(n == 0, false, 16);
        }
      });
    }
    threads.emplace_back([&] {
      while (!stop.load()) {
        auto more = appliance.domain->Register(reservation, 0, 8, false);
        if (more.ok()) appliance.domain->Deregister(more.value(), false);
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(5 * round));
    appliance.pager.EndReservation(reservation);
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(told.load(), 3u);
    CHECK_EQ(appliance.pager.account()->bytes(), 0u);
    CHECK_EQ(appliance.pager.budget().used(), 0u);
  }
}

}  // namespace farpage::test
