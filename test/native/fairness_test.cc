// Connections that share a loop, and requests that share a connection: who may pass whom, and what
// is kept for whom.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <thread>

#include "fabric/adaptive_spin.h"
#include "fabric/dial.h"
#include "slow_fixture.h"

namespace farpage::test {
namespace {

WorkRequest Request(uint64_t id, Opcode opcode, uint32_t stag, uint64_t offset, void* local,
                    uint32_t bytes) {
  WorkRequest request;
  request.id = id;
  request.opcode = opcode;
  request.stag = stag;
  request.remote_offset = offset;
  request.length_bytes = bytes;
  request.local = static_cast<std::byte*>(local);
  return request;
}

bool Enter(const Appliance& appliance, int socket) {
  MpaAsk ask;
  ask.ticket = appliance.ticket;
  return InitiateMpa(socket, ask, NowNs() + 5'000'000'000).ok();
}

// FPDUs of WRITEs of one byte each, `step` bytes apart.
std::vector<std::byte> SmallWrites(uint32_t stag, uint64_t offset, uint64_t step, size_t count) {
  constexpr uint32_t kFpdu = 24;
  std::vector<std::byte> stream(kFpdu * count);
  for (size_t n = 0; n < count; n++) {
    std::byte* fpdu = stream.data() + n * kFpdu;
    EncodeTagged(fpdu, RdmapOpcode::kWrite, true, 1, stag, offset + n * step);
    CHECK_EQ(SealFpdu(fpdu, false), kFpdu);
  }
  return stream;
}

}  // namespace

// A READ behind an atomic that waits must see the world after the atomic, also when its own page
// is there and answers may come in any order.
FARPAGE_TEST(fairness_no_read_passes_a_waiting_atomic) {
  FaultyAppliance faulty({});
  auto initiator = faulty.appliance.Connect(false, false, 8);
  uint64_t got = 0;
  CHECK_EQ(int(Read(*initiator, faulty.stag, 5 * kPageBytes, &got, 8).code), int(Code::kOk));
  faulty.memory->hold_fills = true;
  WorkRequest atomic = Request(1, Opcode::kFetchAdd, faulty.stag, 0, nullptr, 0);
  atomic.operand = 1;
  const WorkRequest read = Request(2, Opcode::kRead, faulty.stag, 5 * kPageBytes, &got, 8);
  CHECK_EQ(initiator->Post({&atomic, 1}), 1u);
  CHECK_EQ(initiator->Post({&read, 1}), 1u);
  initiator->Flush();
  faulty.AwaitFills(1);
  Nap(20);
  initiator->Progress();
  CHECK_EQ(initiator->completions(), 0u);
  faulty.memory->hold_fills = false;
  CHECK_EQ(int(AwaitAll(*initiator)), int(Code::kOk));
}

// One turn asks for a bounded number of pages ahead of a WRITE that waits.
FARPAGE_TEST(fairness_look_ahead_has_a_bound) {
  FaultyAppliance faulty({512, 1024, false, 4});
  faulty.memory->hold_fills = true;
  auto socket = DialUnix(faulty.appliance.socket_path, NowNs() + 5'000'000'000);
  REQUIRE(socket.ok());
  REQUIRE(Enter(faulty.appliance, socket.value().get()));
  const std::vector<std::byte> stream = SmallWrites(faulty.stag, 0, kPageBytes, 400);
  CHECK_EQ(::send(socket.value().get(), stream.data(), stream.size(), MSG_NOSIGNAL),
           stream.size());
  const auto claimed = [&] {
    uint64_t count = 0;
    for (PageIndex page = 0; page < 512; page++) {
      if (StateOf(faulty.appliance.region->table->Load(page)) != PageState::kAbsent) count++;
    }
    return count;
  };
  CHECK(Await([&] { return claimed() > 1; }));
  Nap(50);
  CHECK_EQ(claimed(), 1u + kLookAheadMax);
  faulty.memory->hold_fills = false;
  CHECK(Await([&] { return faulty.appliance.region->table->dirty() == 400; }));
}

// One turn starts a bounded number of reads, so who asks meanwhile is answered before the rest.
FARPAGE_TEST(fairness_reads_of_one_connection_start_a_few_at_a_time) {
  constexpr uint32_t kReads = 32;
  for (const uint8_t flags : {kFlagAnyOrder, uint8_t{0}}) {
    FaultyAppliance faulty({});
    auto other = DialUnix(faulty.appliance.socket_path, NowNs() + 5'000'000'000);
    REQUIRE(other.ok());
    const int socket = other.value().get();
    REQUIRE(Enter(faulty.appliance, socket));
    std::array<std::byte, kReadRequestFpdu> fence{};
    EncodeReadRequest(fence.data(), 1, {1, 0, 0, faulty.stag, 0});
    std::atomic<uint32_t> started{0};
    std::atomic<uint32_t> answered_at{0};
    faulty.memory->on_start_read = [&] {
      std::array<std::byte, 64> answer;
      const uint32_t now = ++started;
      // As long as a device takes, so that two of them are more than short turns.
      const uint64_t until = NowNs() + kShortTurnsNs / kTurnReadsMax;
      while (NowNs() < until) SpinPause();
      if (now == 1) {
        CHECK_EQ(::send(socket, fence.data(), fence.size(), MSG_NOSIGNAL), ssize_t(fence.size()));
      } else if (answered_at == 0 &&
                 ::recv(socket, answer.data(), answer.size(), MSG_DONTWAIT) > 0) {
        answered_at = now;
      }
    };
    faulty.memory->hold_fills = true;
    auto cold = faulty.appliance.Connect(false, false, kReads, flags);
    REQUIRE(cold != nullptr);
    std::vector<std::byte> into;
    PostReads(*cold, faulty.stag, kReads, 64, into);
    CHECK(Await([&] { return started == kReads; }));
    faulty.memory->hold_fills = false;
    CHECK_EQ(int(AwaitAll(*cold)), int(Code::kOk));
    // A turn that had begun, one behind which the loop looks, one that was due before the other
    // connection's.
    CHECK(answered_at > 1);
    CHECK(answered_at <= 3 * kTurnReadsMax + 1);
  }
}

// Beside somebody who is served again and again a turn starts a single one, so that each answer is
// there before the next start.
FARPAGE_TEST(fairness_reads_start_one_by_one_beside_who_is_polled) {
  if (!MayPoll()) SKIP("nobody polls on one processor");
  constexpr uint32_t kReads = 48;
  constexpr uint32_t kInARow = 4;
  constexpr PageIndex kThere = 60;
  uint32_t most = 0;
  // Again where the thread was without a core at the wrong moments.
  for (const uint64_t deadline = NowNs() + 20'000'000'000; most < kInARow && NowNs() < deadline;) {
    FaultyAppliance faulty({});
    auto other = DialUnix(faulty.appliance.socket_path, NowNs() + 5'000'000'000);
    auto cold = faulty.appliance.Connect(false, false, kReads, kFlagAnyOrder);
    REQUIRE(other.ok() && cold != nullptr);
    const int socket = other.value().get();
    REQUIRE(Enter(faulty.appliance, socket));
    uint64_t there = 0;
    CHECK_EQ(int(Read(*cold, faulty.stag, kThere << kPageShift, &there, sizeof there).code),
             int(Code::kOk));
    uint32_t number = 0;
    const auto ask = [&] {
      std::array<std::byte, kReadRequestFpdu> request{};
      EncodeReadRequest(request.data(), ++number,
                        {1, 0, sizeof there, faulty.stag, kThere << kPageShift});
      CHECK_EQ(::send(socket, request.data(), request.size(), MSG_NOSIGNAL),
               ssize_t(request.size()));
    };
    std::array<std::byte, 128> answer;
    ssize_t got = 0;
    ask();
    CHECK(Await([&] {
      if (got <= 0) got = ::recv(socket, answer.data(), answer.size(), MSG_DONTWAIT);
      return got > 0;
    }));
    uint32_t in_a_row = 0;
    std::atomic<uint32_t> started{0};
    faulty.memory->on_start_read = [&] {
      const bool first = started == 0;
      const bool told =
          !first && ::recv(socket, answer.data(), answer.size(), MSG_DONTWAIT) > 0;
      in_a_row = told ? in_a_row + 1 : 0;
      most = std::max(most, in_a_row);
      if (told || first) ask();
      started++;
    };
    faulty.memory->hold_fills = true;
    std::vector<std::byte> into;
    PostReads(*cold, faulty.stag, kReads, 64, into);
    CHECK(Await([&] { return started == kReads; }));
    faulty.memory->hold_fills = false;
    CHECK_EQ(int(AwaitAll(*cold)), int(Code::kOk));
  }
  CHECK(most >= kInARow);
}

// Nor does it start one behind answers of its own: these are sent first, and who is polled is
// looked at in between.
FARPAGE_TEST(fairness_answers_are_sent_before_a_read_starts_beside_who_is_polled) {
  if (!MayPoll()) SKIP("nobody polls on one processor");
  constexpr PageIndex kThere = 60;
  bool sent_first = false;
  // Again where the thread was without a core at the wrong moments.
  for (const uint64_t deadline = NowNs() + 20'000'000'000; !sent_first && NowNs() < deadline;) {
    FaultyAppliance faulty({});
    auto polled = faulty.appliance.Connect(false, false, 1, kFlagAnyOrder);
    auto other = DialUnix(faulty.appliance.socket_path, NowNs() + 5'000'000'000);
    REQUIRE(other.ok() && polled != nullptr);
    const int socket = other.value().get();
    REQUIRE(Enter(faulty.appliance, socket));
    uint64_t there = 0;
    const auto ask = [&] {
      return Read(*polled, faulty.stag, kThere << kPageShift, &there, sizeof there).code;
    };
    CHECK_EQ(int(ask()), int(Code::kOk));
    std::array<std::byte, 128> answer;
    std::atomic<bool> started{false};
    faulty.memory->on_start_read = [&] {
      sent_first = ::recv(socket, answer.data(), answer.size(), MSG_DONTWAIT) > 0;
      started = true;
    };
    // A page that is there and one that is not, in one message.
    std::array<std::byte, 2 * kReadRequestFpdu> requests{};
    EncodeReadRequest(requests.data(), 1,
                      {1, 0, sizeof there, faulty.stag, kThere << kPageShift});
    EncodeReadRequest(requests.data() + kReadRequestFpdu, 2,
                      {1, 0, sizeof there, faulty.stag, kPageBytes});
    CHECK_EQ(int(ask()), int(Code::kOk));
    CHECK_EQ(::send(socket, requests.data(), requests.size(), MSG_NOSIGNAL),
             ssize_t(requests.size()));
    CHECK(Await([&] { return started.load(); }));
  }
  CHECK(sent_first);
}

// Asking again while a page is on its way adds nothing: one wake is enough.
FARPAGE_TEST(fairness_a_waiter_waits_once_however_often_it_asks) {
  class Counter final : public FaultWaiter {
   public:
    void Wake(const FaultWake&) override { wakes++; }
    int wakes = 0;
  };
  FaultPlan plan;
  Region::Options options;
  options.size_bytes = 8 << kPageShift;
  const FaultyRegion made = MakeFaultyRegion(options, &plan);
  WaiterList waiters;
  Counter first;
  Counter second;
  const auto moving = [] { return true; };
  for (int n = 0; n < 100; n++) {
    CHECK(waiters.Add(made.region.get(), 3, &first, 7, moving));
    CHECK(waiters.Add(made.region.get(), 3, &second, 7, moving));
  }
  CHECK(waiters.Add(made.region.get(), 3, &first, 8, moving));
  CHECK(!waiters.Add(made.region.get(), 3, &first, 9, [] { return false; }));
  CHECK_EQ(waiters.WakeAll(made.region, 3, Code::kOk), 3u);
  CHECK_EQ(first.wakes, 2);
  CHECK_EQ(second.wakes, 1);
  CHECK_EQ(waiters.WakeAll(made.region, 3, Code::kOk), 0u);
}

// The bound on tickets counts those that live: many sessions come and go beside one that stays.
FARPAGE_TEST(fairness_a_session_that_lasts_keeps_its_ticket) {
  Appliance appliance;
  const Ticket& lasting = appliance.ticket;
  CHECK(appliance.nic->Admit(lasting).ok());
  appliance.domain->Leave();
  const auto come = [&](const std::shared_ptr<ProtectionDomain>& domain, uint32_t number) {
    Ticket ticket{};
    std::memcpy(ticket.data(), &number, sizeof number);
    appliance.nic->AddTicket(ticket, domain, 60'000'000'000);
    CHECK(appliance.nic->Admit(ticket).ok());
    domain->Leave();
  };
  const auto other = std::make_shared<ProtectionDomain>(appliance.pager.shootdown(), 4);
  for (uint32_t n = 1; n < kTicketsMax; n++) come(other, n);
  appliance.nic->CloseDomain(other);
  come(std::make_shared<ProtectionDomain>(appliance.pager.shootdown(), 4), kTicketsMax);
  CHECK(appliance.nic->Admit(lasting).ok());
  appliance.domain->Leave();
}

// Who writes what nothing takes leaves frames to those who read, also where its pages were read
// first, and goes on once somebody has synced them.
FARPAGE_TEST(fairness_dirty_pages_that_stay_leave_frames_to_readers) {
  constexpr uint64_t kFrames = 64;
  constexpr PageIndex kStuck = kFrames - kFrames / kUnstuckPart;
  for (const bool reads_first : {false, true}) {
    Neighbours house(kFrames);
    auto& written = house.Add(256);
    auto& read = house.Add(256);
    if (reads_first) house.Get(written, 0, kFrames);
    house.Put(written, 0, kStuck, 1);
    const auto writer = house.appliance.Connect();
    const std::byte more{2};
    CHECK_EQ(int(Write(*writer, written.stag, kStuck << kPageShift, &more, 1).code),
             int(Code::kMemoryFull));
    CHECK_EQ(written.region->table->dirty(), kStuck);
    for (int again = 0; again < 2; again++) house.Get(read, 0, 256);
    house.Put(written, 0, kStuck, 3);  // what is dirty may be written
    // Nor does anybody get more who wants to write many pages at once.
    const auto long_writer = house.appliance.Connect();
    const std::vector<std::byte> many(32 << kPageShift);
    CHECK_EQ(int(Write(*long_writer, written.stag, (kStuck - 16) << kPageShift, many.data(),
                       uint32_t(many.size()))
                     .code),
             int(Code::kMemoryFull));
    CHECK_EQ(written.region->table->dirty(), kStuck);
    Asked sync(house.appliance, written.region);
    CHECK(sync.Await() && sync.code == Code::kOk);
    // Nor one that wants to write many which are there and clean.
    house.Put(written, kStuck, kStuck - 4, 4);
    house.Get(written, 200, 8);
    const auto last = house.appliance.Connect();
    CHECK_EQ(int(Write(*last, written.stag, 200 << kPageShift, many.data(), 8 << kPageShift).code),
             int(Code::kMemoryFull));
    CHECK_EQ(written.region->table->dirty(), kStuck);
    house.Get(read, 0, 256);
  }
  // What was dirty when its region was removed counts no more.
  Neighbours house(kFrames);
  auto& removed = house.Add(256);
  house.Put(removed, 0, kStuck, 1);
  house.appliance.domain->DeregisterAll(removed.region.get());
  house.appliance.pager.RemoveRegion(removed.region);
  CHECK_EQ(house.appliance.pager.budget().stuck(), 0u);
  house.regions.erase(house.regions.begin());
  house.Put(house.Add(256), 0, kStuck, 1);
}

// Its last segment may be empty, and say nothing: the WRITE counts once, for the region it was to.
FARPAGE_TEST(fairness_a_write_whose_last_segment_is_empty_counts_once) {
  constexpr uint32_t kBytes = 8;
  FaultyAppliance faulty({});
  Appliance& appliance = faulty.appliance;
  const auto peer = appliance.Connect();
  REQUIRE(peer != nullptr);
  const auto send = [&](uint32_t stag, uint32_t bytes, bool last) {
    std::vector<std::byte> fpdu(64);
    EncodeTagged(fpdu.data(), RdmapOpcode::kWrite, last, bytes, stag, 0);
    fpdu.resize(SealFpdu(fpdu.data(), false));
    CHECK_EQ(::send(peer->socket(), fpdu.data(), fpdu.size(), MSG_NOSIGNAL), ssize_t(fpdu.size()));
  };
  OperationCounters& lane = appliance.region->operations[0];
  const auto counted = [&] { return lane.bypassed.load() + lane.faulted.load(); };
  for (uint64_t writes = 1; writes <= 3; writes++) {
    send(faulty.stag, kBytes, false);
    send(faulty.stag, kBytes, false);
    send(0, 0, true);
    CHECK(Await([&] {
      return counted() == writes && lane.bytes.load() == writes * 2 * kBytes;
    }));
  }
  // One that is empty as a whole is to nobody.
  send(faulty.stag, 0, true);
  send(faulty.stag, kBytes, true);
  CHECK(Await([&] { return counted() == 4 && lane.bytes.load() == 7 * kBytes; }));
}

}  // namespace farpage::test
