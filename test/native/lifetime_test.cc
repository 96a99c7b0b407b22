// Things end while they are in use: regions, domains, the NIC, peers. Nobody hangs, nothing is
// used after its end, no page stays claimed or held for somebody who has gone.
#include <fcntl.h>

#include <random>
#include <thread>

#include "faulty_fixture.h"

namespace farpage::test {

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
    faulty.memory->hold_fills = true;
    auto reader = faulty.appliance.Connect();
    std::vector<std::byte> into;
    PostReads(*reader, faulty.stag, 60, 100, into);
    faulty.AwaitFills(1);
    faulty.memory->hold_fills = false;
    std::this_thread::sleep_for(std::chrono::microseconds(20 * round));
    faulty.appliance.nic->Stop();
    CheckQuiet(faulty.appliance);
  }
}

}  // namespace farpage::test
