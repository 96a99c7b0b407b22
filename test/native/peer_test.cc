// Peers that are slow, greedy, wrong or hopeful: each gets what it is due and harms nobody else.
#include <sys/socket.h>

#include <random>
#include <thread>

#include "fabric/dial.h"
#include "faulty_fixture.h"

namespace farpage::test {

// A peer that asks for much and takes nothing: it alone has to wait.
FARPAGE_TEST(peer_that_never_reads_harms_nobody) {
  for (const bool tcp : {false, true}) {
    FaultyAppliance faulty({512, 96, true, 4});
    auto glutton = faulty.appliance.Connect(tcp, false, 64);
    std::vector<std::byte> into;
    for (int n = 0; n < 4; n++) PostReads(*glutton, faulty.stag, 16, kLong, into, 5 * kLong / 2);
    auto initiator = faulty.appliance.Connect();
    std::vector<std::byte> bytes(kLong, std::byte{7});
    const uint64_t start = NowNs();
    for (uint64_t n = 0; n < 32; n++) {
      CHECK_EQ(int(Write(*initiator, faulty.stag, n * kLong, bytes.data(), kLong).code),
               int(Code::kOk));
    }
    CHECK(NowNs() - start < 5'000'000'000);
    glutton.reset();
    initiator.reset();
    CheckQuiet(faulty.appliance);
  }
}

// A slow reader's pages go away between the header and the last byte, again and again: it gets
// all of them all the same, and they are not kept when it is done.
FARPAGE_TEST(peer_slow_reader_under_a_tiny_budget_gets_every_byte) {
  for (const uint8_t flags : {uint8_t{kFlagReason}, uint8_t{kFlagAnyOrder | kFlagReason}}) {
    FaultyAppliance faulty({512, 12, false, 4});
    std::vector<std::byte> model(512 << kPageShift);
    std::mt19937_64 random(flags);
    for (std::byte& byte : model) byte = static_cast<std::byte>(random());
    faulty.store->Fill(model);
    auto slow = faulty.appliance.Connect(true, false, 32, flags);
    const int small = 65536;
    ::setsockopt(slow->socket(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    constexpr uint32_t kEach = 65'000;
    std::vector<std::vector<std::byte>> into(32, std::vector<std::byte>(kEach));
    for (uint32_t n = 0; n < 32; n++) {
      WorkRequest request;
      request.id = n;
      request.stag = faulty.stag;
      request.remote_offset = n * kEach;
      request.length_bytes = kEach;
      request.local = into[n].data();
      CHECK_EQ(slow->Post({&request, 1}), 1u);
    }
    slow->Flush();
    std::atomic<bool> stop{false};
    std::thread evictor([&] {
      while (!stop.load()) {
        faulty.appliance.pager.Reclaim(faulty.appliance.region, {0, 512});
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
    uint32_t done = 0;
    const uint64_t deadline = NowNs() + 20'000'000'000;
    while (done < 32 && NowNs() < deadline) {
      Nap(2);
      slow->Progress();
      Completion completion;
      while (slow->Poll({&completion, 1}) == 1) {
        CHECK_EQ(int(completion.code), int(Code::kOk));
        CHECK(std::memcmp(into[completion.id].data(), model.data() + completion.id * kEach,
                          kEach) == 0);
        done++;
      }
    }
    CHECK_EQ(done, 32u);
    stop.store(true);
    evictor.join();
    CheckQuiet(faulty.appliance);
  }
}

// A stream that ended by a Terminate keeps no pages, though its peer does not hang up.
FARPAGE_TEST(peer_terminated_stream_holds_nothing) {
  FaultyAppliance faulty({64, 4, false, 4});
  faulty.memory->hold_fills = true;
  auto ended = faulty.appliance.Connect();
  std::vector<std::byte> into(64);
  PostReads(*ended, faulty.stag, 4, 64, into);
  WorkRequest wrong;
  wrong.stag = faulty.stag + 1;
  wrong.length_bytes = 64;
  wrong.local = into.data();
  CHECK_EQ(ended->Post({&wrong, 1}), 1u);
  ended->Flush();
  Nap(100);  // it has ended, and its peer does not look
  faulty.memory->hold_fills = false;
  const uint64_t deadline = NowNs() + 500'000'000;
  const auto held = [&] {
    for (PageIndex page = 0; page < 4; page++) {
      const PageWord word = faulty.appliance.region->table->Load(page);
      if (StateOf(word) != PageState::kPresent || (word & kHeld) != 0) return true;
    }
    return false;
  };
  while (held() && NowNs() < deadline) Nap(1);
  CHECK(!held());
  CheckQuiet(faulty.appliance);
}

// Depth 1 to a few and answers in any order: what waits in front must not use up the places of
// what has been answered behind it.
FARPAGE_TEST(peer_any_order_keeps_the_granted_depth) {
  FaultyAppliance faulty({});
  std::vector<std::byte> into(64);
  {
    auto warm = faulty.appliance.Connect();
    CHECK_EQ(int(Read(*warm, faulty.stag, 5 * kPageBytes, into.data(), 64).code), 0);
  }
  faulty.memory->hold_fills = true;
  auto reader = faulty.appliance.Connect(false, false, 4);
  PostReads(*reader, faulty.stag, 1, 64, into);  // waits for page 0
  faulty.AwaitFills(1);
  for (int n = 0; n < 50; n++) {
    WorkRequest request;
    request.id = 7;
    request.stag = faulty.stag;
    request.remote_offset = 5 * kPageBytes;
    request.length_bytes = 64;
    request.local = into.data();
    const Completion done = Do(*reader, request);
    CHECK_EQ(int(done.code), int(Code::kOk));
    CHECK_EQ(done.id, 7u);
  }
  faulty.memory->hold_fills = false;
  CHECK_EQ(int(AwaitAll(*reader)), int(Code::kOk));
}

FARPAGE_TEST(peer_with_more_reads_than_the_depth_are_refused) {
  FaultyAppliance faulty({});
  faulty.memory->hold_fills = true;
  auto socket = DialUnix(faulty.appliance.socket_path, NowNs() + 5'000'000'000);
  REQUIRE(socket.ok());
  MpaAsk ask;
  ask.depth = 4;
  ask.ticket = faulty.appliance.ticket;
  auto grant = InitiateMpa(socket.value().get(), ask, NowNs() + 5'000'000'000);
  REQUIRE(grant.ok());
  CHECK_EQ(grant.value().depth, 4u);
  MpaGrant liar = grant.value();
  liar.depth = 64;
  auto initiator = Initiator::Adopt(std::move(socket).value(), liar, 64);
  std::vector<std::byte> into;
  PostReads(*initiator, faulty.stag, 5, 8, into);
  Completion completion;
  const uint64_t deadline = NowNs() + 5'000'000'000;
  bool named = false;
  while (initiator->in_flight() != 0 && initiator->Wait(1000, deadline).ok()) {
    while (initiator->Poll({&completion, 1}) == 1) {
      CHECK(completion.code != Code::kOk);
      named = named || completion.terminate == kTermNoBuffer.Packed();
    }
  }
  CHECK(named);
  initiator.reset();
  faulty.memory->hold_fills = false;
  CheckQuiet(faulty.appliance);
}

FARPAGE_TEST(peer_garbage_after_the_handshake_ends_that_connection_alone) {
  FaultyAppliance faulty({});
  auto witness = faulty.appliance.Connect();
  std::mt19937_64 random(42);
  for (int round = 0; round < 60; round++) {
    auto socket = DialUnix(faulty.appliance.socket_path, NowNs() + 5'000'000'000);
    REQUIRE(socket.ok());
    const int number = socket.value().get();
    MpaAsk ask;
    ask.crc = round % 2 == 0;
    ask.ticket = faulty.appliance.ticket;
    REQUIRE(InitiateMpa(number, ask, NowNs() + 5'000'000'000).ok());
    std::vector<std::byte> garbage(1 + random() % 70'000);
    for (std::byte& byte : garbage) byte = static_cast<std::byte>(random());
    [[maybe_unused]] const ssize_t sent =
        ::send(number, garbage.data(), garbage.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    // Too short to be an FPDU it waits for more, which does not come.
    ::shutdown(number, SHUT_WR);
    const uint64_t deadline = NowNs() + 5'000'000'000;
    std::array<std::byte, 4096> answer;
    ssize_t got = 1;
    while (got != 0 && NowNs() < deadline) {
      got = ::recv(number, answer.data(), answer.size(), MSG_DONTWAIT);
      if (got < 0 && errno == ECONNRESET) got = 0;
      if (got < 0) Nap(1);
    }
    CHECK_EQ(got, 0);
    std::byte byte{};
    CHECK_EQ(int(Read(*witness, faulty.stag, 9, &byte, 1).code), int(Code::kOk));
  }
  witness.reset();
  CheckQuiet(faulty.appliance);
}

// A refused long WRITE, whose payload goes from the socket into the region, is told as well as a
// short one; and memory full of dirty pages is told at once, not after a wait for nothing.
FARPAGE_TEST(memory_that_is_full_is_told_at_once_whatever_the_length) {
  for (const uint32_t bytes : {100u, 4096u, 300'000u}) {
    FaultyAppliance faulty({256, 8, false, 2});
    auto initiator = faulty.appliance.Connect();
    std::vector<std::byte> from(bytes, std::byte{1});
    const uint64_t start = NowNs();
    Completion completion;
    for (uint64_t n = 0; n < 256 && completion.code == Code::kOk; n++) {
      const uint64_t offset = n * kPageBytes;
      if (offset + bytes > (256u << kPageShift)) break;
      completion = Write(*initiator, faulty.stag, offset, from.data(), bytes);
    }
    CHECK_EQ(int(completion.code), int(Code::kMemoryFull));
    CHECK(NowNs() - start < 2'000'000'000);
    CHECK_EQ(faulty.appliance.region->table->dirty(), 8u);
    auto again = faulty.appliance.Connect();
    std::byte byte{};
    const uint64_t later = NowNs();
    CHECK_EQ(int(Read(*again, faulty.stag, 200 * kPageBytes, &byte, 1).code),
             int(Code::kMemoryFull));
    CHECK(NowNs() - later < 2'000'000'000);
    CHECK(faulty.appliance.Sync().ok());
    again = faulty.appliance.Connect();
    CHECK_EQ(int(Read(*again, faulty.stag, 200 * kPageBytes, &byte, 1).code), int(Code::kOk));
  }
}

// Pages that a sync without durability has written may go once they are durable, which the pager
// sees to when memory is short.
FARPAGE_TEST(memory_pages_written_but_not_durable_do_not_fill_memory_for_ever) {
  FaultyAppliance faulty({64, 8, false, 2});
  auto initiator = faulty.appliance.Connect();
  const uint64_t start = NowNs();
  std::byte byte{5};
  for (uint64_t page = 0; page < 32; page++) {
    CHECK_EQ(int(Write(*initiator, faulty.stag, page << kPageShift, &byte, 1).code),
             int(Code::kOk));
    if (page % 8 == 7) CHECK(faulty.appliance.Sync(false).ok());
  }
  CHECK(NowNs() - start < 4'000'000'000);
  CHECK(faulty.store->syncs() > 0);
}

}  // namespace farpage::test
