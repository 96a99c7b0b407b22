// Things end while they are in use: regions, domains, the NIC, peers. Nobody hangs, nothing is
// used after its end, no page stays claimed or held for somebody who has gone.
#include <fcntl.h>
#include <sys/socket.h>

#include <random>
#include <thread>

#include "fabric/dial.h"
#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint32_t kLong = 60'000;

void Nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

// Posts and flushes; the answers are somebody else's business.
void PostReads(Initiator& initiator, uint32_t stag, uint32_t count, uint32_t bytes,
               std::vector<std::byte>& into, uint64_t step = kPageBytes) {
  into.resize(std::max<size_t>(into.size(), bytes));
  for (uint32_t n = 0; n < count; n++) {
    WorkRequest request;
    request.id = n;
    request.stag = stag;
    request.remote_offset = n * step;
    request.length_bytes = bytes;
    request.local = into.data();
    CHECK_EQ(initiator.Post({&request, 1}), 1u);
  }
  initiator.Flush();
}

// Everything posted completes; the first code that is not kOk.
Code AwaitAll(Initiator& initiator, uint64_t patience_ns = 10'000'000'000) {
  Code first = Code::kOk;
  const uint64_t deadline = NowNs() + patience_ns;
  while (initiator.in_flight() != 0 || initiator.completions() != 0) {
    Completion completion;
    if (initiator.Poll({&completion, 1}) == 1) {
      if (first == Code::kOk) first = completion.code;
      continue;
    }
    if (!initiator.Wait(20'000, deadline).ok()) return Code::kTimeout;
  }
  return first;
}

}  // namespace

FARPAGE_TEST(lifetime_region_removed_under_traffic) {
  for (int round = 0; round < 6; round++) {
    ApplianceOptions options;
    options.frames_max = round % 2 == 0 ? 64 : 1u << 16;
    options.nic_threads = 2;
    Appliance appliance(options);
    const std::string path = appliance.folder.File("data");
    const uint64_t size = 2 << 20;
    {
      const Fd file(::open(path.c_str(), O_RDWR | O_CREAT, 0600));
      CHECK(::ftruncate(file.get(), off_t{size}) == 0);
    }
    const uint32_t stag = appliance.OpenFile(path, true, true);
    std::atomic<uint32_t> told{0};
    std::vector<std::thread> threads;
    for (uint32_t n = 0; n < 3; n++) {
      threads.emplace_back([&, n] {
        std::mt19937_64 random(n + static_cast<uint64_t>(round) * 10);
        std::vector<std::byte> bytes(kLong);
        const uint64_t deadline = NowNs() + 20'000'000'000;
        auto initiator = appliance.Connect(n == 0, n == 1, 16);
        while (NowNs() < deadline) {
          const uint64_t offset = random() % (size - kLong);
          const auto length = static_cast<uint32_t>(1 + random() % kLong);
          const Completion done = random() % 2 == 0
                                      ? Read(*initiator, stag, offset, bytes.data(), length)
                                      : Write(*initiator, stag, offset, bytes.data(), length);
          if (done.code == Code::kOk) continue;
          if (done.code == Code::kRegionRemoved) {
            told++;
            return;
          }
          // Cut off in the middle of an answer, or a WRITE was; the next one says why.
          CHECK(done.code == Code::kConnection || done.code == Code::kOutcomeUnknown);
          initiator = appliance.Connect(n == 0, n == 1, 16);
          if (initiator == nullptr) return;
        }
      });
    }
    Nap(40);
    appliance.RemoveRegion();
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(told.load(), 3u);
    CHECK_EQ(appliance.pager.budget().used(), 0u);
  }
}

// The pager writes behind when memory is short, on a thread of its own: a region may not go
// before that thread has let go of it.
FARPAGE_TEST(lifetime_region_waits_for_the_write_behind_under_way) {
  FaultyAppliance faulty({64, 40, true, 2});
  std::atomic<bool> writing{false};
  std::atomic<bool> release{false};
  faulty.store->SetOnWrite([&] {
    writing.store(true);
    while (!release.load()) Nap(1);
  });
  auto initiator = faulty.appliance.Connect();
  const char byte = 'w';
  std::thread filler([&] {
    for (uint64_t page = 0; page < 64; page++) {
      if (Write(*initiator, faulty.stag, page << kPageShift, &byte, 1).code != Code::kOk) return;
    }
  });
  const uint64_t deadline = NowNs() + 5'000'000'000;
  while (!writing.load() && NowNs() < deadline) Nap(1);
  CHECK(writing.load());
  std::atomic<bool> removed{false};
  std::thread remover([&] {
    faulty.appliance.RemoveRegion();
    removed.store(true);
  });
  Nap(100);
  CHECK(!removed.load());
  release.store(true);
  remover.join();
  filler.join();
}

FARPAGE_TEST(lifetime_region_removed_while_its_pages_are_filled) {
  FaultyAppliance faulty({});
  faulty.memory->hold_fills = true;
  auto reader = faulty.appliance.Connect();
  auto writer = faulty.appliance.Connect();
  std::vector<std::byte> into;
  PostReads(*reader, faulty.stag, 2, 100, into);
  WorkRequest write;
  write.opcode = Opcode::kWrite;
  write.stag = faulty.stag;
  write.remote_offset = 10 * kPageBytes;
  std::vector<std::byte> from(100'000);
  write.length_bytes = uint32_t(from.size());
  write.local = from.data();
  CHECK_EQ(writer->Post({&write, 1}), 1u);
  PostReads(*writer, faulty.stag, 1, 0, into);
  faulty.AwaitFills(1);
  std::thread remover([&] { faulty.appliance.RemoveRegion(); });
  Nap(30);
  faulty.memory->hold_fills = false;
  remover.join();
  // Whoever waited hears that the region has gone, or was served just before.
  for (Initiator* initiator : {reader.get(), writer.get()}) {
    const Code code = AwaitAll(*initiator);
    CHECK(code == Code::kRegionRemoved || code == Code::kOk || code == Code::kOutcomeUnknown ||
          code == Code::kConnection);
  }
  CHECK_EQ(faulty.appliance.pager.budget().used(), 0u);
}

// Peers that go away while their pages are on their way: nothing is kept for them.
FARPAGE_TEST(lifetime_peers_vanish_while_their_pages_are_filled) {
  for (const uint8_t flags : {uint8_t{kFlagReason}, uint8_t{kFlagAnyOrder | kFlagReason}}) {
    FaultyAppliance faulty({});
    faulty.memory->hold_fills = true;
    std::vector<std::byte> into;
    {
      auto reader = faulty.appliance.Connect(false, false, 16, flags);
      PostReads(*reader, faulty.stag, 16, 100, into);
      auto writer = faulty.appliance.Connect(true, false, 16, flags);
      WorkRequest write;
      write.opcode = Opcode::kWrite;
      write.stag = faulty.stag;
      write.remote_offset = 30 * kPageBytes;
      write.length_bytes = 8;
      into.resize(64);
      write.local = into.data();
      CHECK_EQ(writer->Post({&write, 1}), 1u);
      writer->Flush();
      faulty.AwaitFills(1);
    }
    Nap(50);
    faulty.memory->hold_fills = false;
    CheckQuiet(faulty.appliance);
    CHECK_EQ(faulty.appliance.region->table->present(),
             faulty.appliance.region->table->dirty());
  }
}

FARPAGE_TEST(lifetime_domain_closed_while_its_pages_are_filled) {
  FaultyAppliance faulty({});
  faulty.memory->hold_fills = true;
  auto reader = faulty.appliance.Connect();
  std::vector<std::byte> into;
  PostReads(*reader, faulty.stag, 8, 100, into);
  faulty.AwaitFills(1);
  faulty.appliance.nic->CloseDomain(faulty.appliance.domain);
  CHECK_EQ(int(AwaitAll(*reader)), int(Code::kConnection));
  CHECK(faulty.appliance.Connect() == nullptr);
  faulty.memory->hold_fills = false;
  CheckQuiet(faulty.appliance);
}

FARPAGE_TEST(lifetime_nic_stopped_while_pages_are_filled) {
  FaultyAppliance faulty({});
  faulty.memory->hold_fills = true;
  auto reader = faulty.appliance.Connect();
  std::vector<std::byte> into;
  PostReads(*reader, faulty.stag, 8, 100, into);
  faulty.AwaitFills(1);
  faulty.appliance.nic->Stop();
  CHECK_EQ(int(AwaitAll(*reader)), int(Code::kConnection));
  faulty.memory->hold_fills = false;
  CheckQuiet(faulty.appliance);
}

// Wakes that arrive at a loop which has just ended: their pages are nobody's.
FARPAGE_TEST(lifetime_nic_stopped_at_any_moment_leaves_nothing_held) {
  for (int round = 0; round < 30; round++) {
    FaultyAppliance faulty({});
    auto reader = faulty.appliance.Connect();
    std::vector<std::byte> into;
    PostReads(*reader, faulty.stag, 60, 100, into);
    std::this_thread::sleep_for(std::chrono::microseconds(30 * round));
    faulty.appliance.nic->Stop();
    CheckQuiet(faulty.appliance);
  }
}

// A peer that asks for much and takes nothing: it alone has to wait.
FARPAGE_TEST(lifetime_peer_that_never_reads_harms_nobody) {
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
FARPAGE_TEST(lifetime_slow_reader_under_a_tiny_budget_gets_every_byte) {
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

// Depth 1 to a few and answers in any order: what waits in front must not use up the places of
// what has been answered behind it.
FARPAGE_TEST(lifetime_any_order_keeps_the_granted_depth) {
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

FARPAGE_TEST(lifetime_more_reads_than_the_depth_are_refused) {
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

FARPAGE_TEST(lifetime_garbage_after_the_handshake_ends_that_connection_alone) {
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
FARPAGE_TEST(lifetime_full_memory_is_told_at_once_whatever_the_length) {
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
FARPAGE_TEST(lifetime_pages_written_but_not_durable_do_not_fill_memory_for_ever) {
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
