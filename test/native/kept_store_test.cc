// Staged memory over a kept file over whatever the rest comes from.
#include <sys/stat.h>

#include "check.h"
#include "elsewhere.h"
#include "faulty_fixture.h"
#include "stores/kept_store.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 64;
const uint64_t kSize = kPages << kPageShift;

std::unique_ptr<KeptStore> Keep(const std::string& path, bool make, uint8_t fill = 0) {
  auto kept = KeptStore::Open(path, kSize, make,
                              std::make_unique<FillValueStore>(
                                  static_cast<FillValueStore::Value>(fill)));
  if (!kept.ok()) std::abort();
  return std::move(kept).value();
}

std::byte ByteAt(Appliance& appliance, uint32_t stag, PageIndex page) {
  auto reader = appliance.Connect();
  std::byte byte{0x55};
  CHECK_EQ(int(Read(*reader, stag, page << kPageShift, &byte, 1).code), 0);
  return byte;
}

}  // namespace

// What was synced comes back; what was never written is filled, and no store is read for it.
FARPAGE_TEST(kept_comes_back_and_the_rest_is_filled_unread) {
  const TemporaryFolder folder;
  const std::string path = folder.File("kept");
  for (const uint8_t fill : {uint8_t{0}, uint8_t{0xff}}) {
    {
      Appliance appliance;
      const uint32_t stag = appliance.OpenStaged(kSize, Keep(path, true, fill));
      CHECK_EQ(int(ByteAt(appliance, stag, 9)), int(fill));
      auto writer = appliance.Connect();
      const uint8_t mark = 7;
      CHECK_EQ(int(Write(*writer, stag, 5 << kPageShift, &mark, 1).code), 0);
      const auto synced = appliance.Sync();
      CHECK(synced.ok() && synced.value().pages_written == 1);
      CHECK_EQ(appliance.region->store->pages_read(), 0u);
    }
    struct stat status{};
    CHECK_EQ(::stat(path.c_str(), &status), 0);
    CHECK_EQ(static_cast<uint64_t>(status.st_size), kSize);
    CHECK(static_cast<uint64_t>(status.st_blocks) * 512 <= 2 * kPageBytes);
    Appliance again;
    auto store = Keep(path, false, fill);
    CHECK_EQ(store->KeptPages({0, kPages}), 1u);
    const uint32_t stag = again.OpenStaged(kSize, std::move(store));
    CHECK_EQ(int(ByteAt(again, stag, 9)), int(fill));
    CHECK_EQ(again.region->store->pages_read(), 0u);
    CHECK_EQ(int(ByteAt(again, stag, 5)), 7);
    CHECK_EQ(again.region->store->pages_read(), 1u);
    CheckQuiet(again);
    CHECK_EQ(int(ByteAt(again, stag, 5)), 7);
    ::unlink(path.c_str());
  }
}

FARPAGE_TEST(kept_refuses_what_is_not_its_file) {
  const TemporaryFolder folder;
  const std::string path = folder.File("kept");
  auto base = [] { return std::make_unique<FillValueStore>(FillValueStore::Value::kZero); };
  CHECK_EQ(int(KeptStore::Open(path, kSize, false, base()).error().code),
           int(Code::kFileNotFound));
  { const auto made = Keep(path, true); }
  CHECK_EQ(int(KeptStore::Open(path, kSize * 2, false, base()).error().code),
           int(Code::kFileChanged));
  const auto held = Keep(path, false);
  CHECK_EQ(int(KeptStore::Open(path, kSize, false, base()).error().code), int(Code::kFileLocked));
}

// Reads of a peer hold no thread: with a single fill thread many are under way, and a region
// beside them is filled meanwhile.
FARPAGE_TEST(staged_reads_of_a_peer_hold_no_thread) {
  const TemporaryFolder folder;
  Appliance appliance({.fill_threads = 1, .read_ahead_pages = 0, .window_bytes = kPageBytes});
  auto owned = std::make_unique<SlowElsewhere>();
  SlowElsewhere* peer = owned.get();
  peer->holds = true;
  auto kept = KeptStore::Open(folder.File("kept"), kSize, true, std::move(owned));
  CHECK(kept.ok());
  const uint32_t stag = appliance.OpenStaged(kSize, std::move(kept).value());
  auto reader = appliance.Connect();
  std::vector<std::byte> into(16 * kPageBytes);
  for (uint32_t n = 0; n < 16; n++) {
    WorkRequest request;
    request.id = n;
    request.stag = stag;
    request.remote_offset = n * 3 * kPageBytes;
    request.length_bytes = static_cast<uint32_t>(kPageBytes);
    request.local = into.data() + n * kPageBytes;
    CHECK_EQ(reader->Post({&request, 1}), 1u);
  }
  reader->Flush();
  const uint64_t deadline = NowNs() + 5'000'000'000;
  while (peer->waiting() < 16 && NowNs() < deadline) std::this_thread::yield();
  CHECK_EQ(peer->waiting(), 16u);
  peer->Answer();
  uint32_t done = 0;
  Completion completion;
  while (done < 16 && reader->Wait(1000, deadline).ok()) {
    while (reader->Poll({&completion, 1}) == 1) {
      CHECK_EQ(int(completion.code), 0);
      CHECK_EQ(int(into[completion.id * kPageBytes]), int(completion.id * 3 + 1));
      done++;
    }
  }
  CHECK_EQ(done, 16u);
  CHECK_EQ(peer->pages_read(), 16u);
  CheckQuiet(appliance);
}

// A page that cannot come fails for who needs it: not for who waits for another of its run.
FARPAGE_TEST(staged_one_bad_page_of_a_peer_fails_alone) {
  Appliance appliance;
  auto owned = std::make_unique<SlowElsewhere>();
  SlowElsewhere* peer = owned.get();
  peer->bad = 3;
  peer->holds = true;
  const uint32_t stag = appliance.OpenStaged(kSize, std::move(owned));
  std::vector<std::byte> into(8 * kPageBytes);
  auto all = appliance.Connect();
  PostReads(*all, stag, 1, 8 * 4096, into);
  const uint64_t deadline = NowNs() + 5'000'000'000;
  while (peer->waiting() == 0 && NowNs() < deadline) std::this_thread::yield();
  auto one = appliance.Connect();
  std::byte byte{0};
  std::thread late([&] {
    Nap(50);
    peer->Answer();
  });
  CHECK_EQ(int(Read(*one, stag, 5 << kPageShift, &byte, 1).code), 0);
  CHECK_EQ(int(byte), 6);
  CHECK_EQ(int(AwaitAll(*all)), int(Code::kIo));
  late.join();
  CheckQuiet(appliance);
}

// A region whose peer never answers can still be removed.
FARPAGE_TEST(staged_removal_ends_reads_of_a_peer) {
  Appliance appliance;
  auto owned = std::make_unique<SlowElsewhere>();
  SlowElsewhere* peer = owned.get();
  peer->holds = true;
  const uint32_t stag = appliance.OpenStaged(kSize, std::move(owned));
  auto reader = appliance.Connect();
  std::byte byte;
  WorkRequest request;
  request.stag = stag;
  request.length_bytes = 1;
  request.local = &byte;
  CHECK_EQ(reader->Post({&request, 1}), 1u);
  reader->Flush();
  const uint64_t deadline = NowNs() + 5'000'000'000;
  while (peer->waiting() == 0 && NowNs() < deadline) std::this_thread::yield();
  appliance.RemoveRegion();
  Completion completion;
  while (reader->Poll({&completion, 1}) == 0 && reader->Wait(1000, deadline).ok()) {
  }
  CHECK_EQ(int(completion.code), int(Code::kRegionRemoved));
}

}  // namespace farpage::test
