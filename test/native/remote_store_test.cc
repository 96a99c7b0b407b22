// Copies of a region of a second appliance, over a second NIC of this process.
#include "remote_fixture.h"
#include "stores/kept_store.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = kSourcePages;
const uint64_t kSize = kSourceBytes;

std::byte Expected(uint64_t offset) { return SourceByte(offset); }

// The copy: asks `answer` whenever its store needs a door.
struct Copy {
  explicit Copy(std::function<void(RemoteStore&)> answer, uint64_t deadline_ns = 5'000'000'000) {
    RemoteStoreOptions options;
    options.length_bytes = kSize;
    options.deadline_ns = deadline_ns;
    options.need_door = [this, answer = std::move(answer)] {
      asked++;
      answer(*store);
    };
    auto owned = std::make_unique<RemoteStore>(std::move(options));
    store = owned.get();
    stag = appliance.OpenStaged(kSize, std::move(owned));
  }
  std::atomic<int> asked{0};
  RemoteStore* store = nullptr;
  Appliance appliance;
  uint32_t stag = 0;
};

Code ReadPage(Copy& copy, PageIndex page, std::byte* byte) {
  auto reader = copy.appliance.Connect();
  return Read(*reader, copy.stag, page << kPageShift, byte, 1).code;
}

}  // namespace

// Nothing is contacted before the first touch; then every byte is the source's, the last page's
// end is zero, and each page came once.
FARPAGE_TEST(remote_copy_reads_every_byte) {
  Source source;
  Copy copy([&](RemoteStore& store) { store.Open(source.Door()); });
  CHECK_EQ(copy.asked.load(), 0);
  CHECK(!copy.store->connected());
  auto reader = copy.appliance.Connect();
  std::vector<std::byte> into(kSize);
  for (uint64_t at = 0; at < kSize; at += 100'000) {
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(100'000, kSize - at));
    CHECK_EQ(int(Read(*reader, copy.stag, at, into.data() + at, length).code), 0);
  }
  bool same = true;
  for (uint64_t at = 0; at < kSize; at++) same = same && into[at] == Expected(at);
  CHECK(same);
  CHECK_EQ(copy.asked.load(), 1);
  CHECK_EQ(copy.store->pages_read(), kPages);
  const std::byte* end = copy.appliance.region->memory->address() + kSize;
  for (int n = 0; n < 100; n++) CHECK_EQ(int(end[n]), 0);
  CheckQuiet(copy.appliance);
}

// Writes stay in the copy, and a kept file takes them over a restart.
FARPAGE_TEST(remote_copy_keeps_its_own_writes) {
  Source source;
  const TemporaryFolder folder;
  for (const bool first : {true, false}) {
    Appliance appliance;
    RemoteStoreOptions options;
    options.length_bytes = kSize;
    RemoteStore* store = nullptr;
    options.need_door = [&] { store->Open(source.Door()); };
    auto owned = std::make_unique<RemoteStore>(std::move(options));
    store = owned.get();
    auto kept = KeptStore::Open(folder.File("kept"), kSize, first, std::move(owned));
    CHECK(kept.ok());
    const uint32_t stag = appliance.OpenStaged(kSize, std::move(kept).value());
    auto user = appliance.Connect();
    const std::byte mark{0xee};
    if (first) {
      CHECK_EQ(int(Write(*user, stag, 7 << kPageShift, &mark, 1).code), 0);
      CHECK(appliance.Sync().ok());
    }
    std::byte bytes[2]{};
    CHECK_EQ(int(Read(*user, stag, 7 << kPageShift, bytes, 2).code), 0);
    CHECK_EQ(int(bytes[0]), 0xee);
    CHECK_EQ(int(bytes[1]), int(Expected((7 << kPageShift) + 1)));
    CHECK_EQ(store->pages_read(), first ? 1u : 0u);
  }
}

// Without a door: pages that are here go on, the others wait for their deadline and no longer, and
// all is well once the source is back.
FARPAGE_TEST(remote_source_away_fails_what_needs_it_only) {
  Source source;
  std::atomic<bool> away{false};
  Copy copy(
      [&](RemoteStore& store) {
        if (away) {
          store.Refuse({Code::kConnection, 0, "away"});
        } else {
          store.Open(source.Door());
        }
      },
      300'000'000);
  std::byte byte{};
  CHECK_EQ(int(ReadPage(copy, 3, &byte)), 0);
  away = true;
  source.GoAway();
  const uint64_t begin = NowNs();
  CHECK_EQ(int(ReadPage(copy, 300, &byte)), int(Code::kSourceAway));
  const uint64_t took = NowNs() - begin;
  CHECK(took > 250'000'000 && took < 3'000'000'000);
  CHECK_EQ(int(ReadPage(copy, 3, &byte)), 0);
  CHECK_EQ(int(byte), int(Expected(3 << kPageShift)));
  source.Return();
  away = false;
  CHECK_EQ(int(ReadPage(copy, 300, &byte)), 0);
  CHECK_EQ(int(byte), int(Expected(300 << kPageShift)));
  CheckQuiet(copy.appliance);
}

// A refusal that no other try can mend is told at once.
FARPAGE_TEST(remote_wrong_source_fails_at_once) {
  Copy copy([](RemoteStore& store) { store.Refuse({Code::kFileChanged, 0, "another size"}); });
  std::byte byte{};
  const uint64_t begin = NowNs();
  CHECK_EQ(int(ReadPage(copy, 0, &byte)), int(Code::kFileChanged));
  CHECK(NowNs() - begin < 2'000'000'000);
}

// Reads in the background leave the wire to those that somebody waits for: of many, two are
// outstanding, and a later read is answered while these still wait.
FARPAGE_TEST(remote_background_reads_stand_behind_others) {
  FaultyAppliance source({.pages = kPages});
  source.memory->hold_fills = true;
  RemoteStoreOptions options;
  options.length_bytes = kPages << kPageShift;
  RemoteStore* made = nullptr;
  options.need_door = [&] {
    RemoteDoor door;
    door.connect.path = source.appliance.socket_path;
    door.connect.ask.ticket = source.appliance.ticket;
    door.stag = source.stag;
    made->Open(std::move(door));
  };
  RemoteStore store(std::move(options));
  made = &store;
  std::vector<std::byte> into(kPages << kPageShift);
  std::atomic<int> ended{0};
  const auto count = [&ended](Status read) {
    CHECK(read.ok());
    ended++;
  };
  // 2 MiB, then one page that is here at the source.
  constexpr uint64_t kBackground = 512;
  const PageIndex present = kPages - 1;
  const std::byte mark{0x77};
  auto writer = source.appliance.Connect();
  source.memory->hold_fills = false;
  CHECK_EQ(int(Write(*writer, source.stag, present << kPageShift, &mark, 1).code), 0);
  source.memory->hold_fills = true;
  store.StartBackgroundRead({0, kBackground}, into.data(), count);
  source.AwaitFills(2);
  std::atomic<bool> answered{false};
  store.StartRead({present, 1}, into.data() + (present << kPageShift), [&](Status read) {
    CHECK(read.ok());
    answered = true;
  });
  const uint64_t deadline = NowNs() + 10'000'000'000;
  while (!answered && NowNs() < deadline) Nap(1);
  CHECK(answered);
  CHECK_EQ(int(into[present << kPageShift]), 0x77);
  CHECK_EQ(ended.load(), 0);
  CHECK_EQ(source.memory->waiting_fills.load(), 2u);
  source.memory->hold_fills = false;
  while (ended != 1 && NowNs() < deadline) Nap(1);
  CHECK_EQ(ended.load(), 1);
}

// A source that never answers a READ costs its deadline; removal ends what waits at once.
FARPAGE_TEST(remote_silent_source_meets_the_deadline_and_removal) {
  for (const bool remove : {false, true}) {
    Copy copy([](RemoteStore&) {}, remove ? 60'000'000'000 : 200'000'000);
    auto reader = copy.appliance.Connect();
    std::byte byte{};
    WorkRequest request;
    request.stag = copy.stag;
    request.length_bytes = 1;
    request.local = &byte;
    CHECK_EQ(reader->Post({&request, 1}), 1u);
    reader->Flush();
    while (copy.asked == 0) Nap(1);
    const uint64_t deadline = NowNs() + 5'000'000'000;
    if (remove) copy.appliance.RemoveRegion();
    Completion completion;
    completion.code = Code::kInternal;
    while (reader->Poll({&completion, 1}) == 0 && reader->Wait(1000, deadline).ok()) {
    }
    CHECK_EQ(int(completion.code), int(remove ? Code::kRegionRemoved : Code::kTimeout));
  }
}

}  // namespace farpage::test
