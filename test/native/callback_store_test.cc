// A store whose pages a program supplies and takes.
#include "callback_fixture.h"
#include "check.h"
#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 600;
const uint64_t kSize = (kPages << kPageShift) - 100;
constexpr uint64_t kLongNs = 60'000'000'000;
constexpr uint64_t kShortNs = 200'000'000;

CallbackStoreOptions OptionsOf(std::function<void()> ring, uint64_t deadline_ns = kLongNs) {
  CallbackStoreOptions options;
  options.length_bytes = kSize;
  options.takes_writes = true;
  options.deadline_ns = deadline_ns;
  options.ring = std::move(ring);
  return options;
}

void Supply(CallbackStore& store, const CallbackRequest& request) {
  CHECK(store.Answer(request.id, CallbackBytes(request)));
}

// An appliance with a region whose pages `supplier` supplies, which it ends before the region.
struct Supplied {
  explicit Supplied(Program& supplier, uint64_t deadline_ns = kLongNs,
                    const ApplianceOptions& options = {})
      : appliance(options), program(supplier) {
    auto owned = std::make_unique<CallbackStore>(OptionsOf(program.Bell(), deadline_ns));
    store = owned.get();
    stag = appliance.OpenStaged(kSize, std::move(owned));
    program.Serve(store);
  }
  ~Supplied() { program.Stop(); }
  Appliance appliance;
  Program& program;
  CallbackStore* store = nullptr;
  uint32_t stag = 0;
};

}  // namespace

// Nothing is asked for before the first touch; then every byte is the program's, the last page's
// end is zero, and each page came once.
FARPAGE_TEST(callback_supplies_every_byte) {
  Program program(Supply);
  Supplied supplied(program);
  CHECK_EQ(program.requests.load(), 0);
  auto reader = supplied.appliance.Connect();
  std::vector<std::byte> into(kSize);
  for (uint64_t at = 0; at < kSize; at += 100'000) {
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(100'000, kSize - at));
    CHECK_EQ(int(Read(*reader, supplied.stag, at, into.data() + at, length).code), 0);
  }
  bool same = true;
  for (uint64_t at = 0; at < kSize; at++) same = same && into[at] == CallbackByte(at);
  CHECK(same);
  CHECK_EQ(supplied.store->pages_read(), kPages);
  const std::byte* end = supplied.appliance.region->memory->address() + kSize;
  for (int n = 0; n < 100; n++) CHECK_EQ(int(end[n]), 0);
  CheckQuiet(supplied.appliance);
}

// Reads that touch become one request, in whatever order they came; a gap and the bound part them.
FARPAGE_TEST(callback_neighbours_become_one_request) {
  Reads reads;
  std::atomic<int> rings{0};
  CallbackStore store(OptionsOf([&] { rings++; }));
  std::vector<std::byte> memory(kSize + kPageBytes);
  for (const PageIndex page : {PageIndex{9}, PageIndex{8}, PageIndex{10}, PageIndex{12}}) {
    store.StartRead({page, 1}, memory.data() + (page << kPageShift), reads.Done(page));
  }
  CHECK_EQ(rings.load(), 1);
  const uint64_t pages_max = CallbackStore::kRequestBytesMax >> kPageShift;
  store.StartRead({100, pages_max + 1}, memory.data() + (100 << kPageShift), reads.Done(100));
  const auto taken = store.Take();
  REQUIRE(taken.size() == 4);
  CHECK(taken[0].run == (PageRun{8, 3}));
  CHECK(taken[1].run == (PageRun{12, 1}));
  CHECK(taken[2].run == (PageRun{100, pages_max}));
  CHECK(taken[3].run == (PageRun{100 + pages_max, 1}));
  CHECK_EQ(reads.ended.load(), 0);
  for (const CallbackRequest& request : taken) Supply(store, request);
  CHECK_EQ(reads.ended.load(), 5);
  for (const PageIndex page : {8, 9, 10, 12, 100}) CHECK_EQ(int(reads.CodeOf(page)), 0);
  CHECK_EQ(int(memory[(9 << kPageShift) + 5]), int(CallbackByte((9 << kPageShift) + 5)));
  const uint64_t far = (100 + pages_max) << kPageShift;
  CHECK_EQ(int(memory[far + 7]), int(CallbackByte(far + 7)));
  CHECK_EQ(int(memory[11 << kPageShift]), 0);
  // Whoever answers looks by itself; only what comes later rings.
  CHECK_EQ(rings.load(), 1);
  store.StartRead({20, 1}, memory.data(), reads.Done(20));
  CHECK_EQ(rings.load(), 2);
}

// No more than its bound is ever under way, and every answer makes room for one.
FARPAGE_TEST(callback_requests_under_way_are_bounded) {
  Reads reads;
  CallbackStoreOptions options = OptionsOf([] {});
  options.requests_max = 3;
  CallbackStore store(std::move(options));
  std::vector<std::byte> memory(kSize + kPageBytes);
  for (PageIndex page = 0; page < 20; page += 2) {
    store.StartRead({page, 1}, memory.data() + (page << kPageShift), reads.Done(page));
  }
  auto taken = store.Take();
  CHECK_EQ(taken.size(), 3u);
  CHECK(store.Take().empty());
  CHECK(store.Refuse(taken[1].id, {Code::kAccess, 0, ""}));
  CHECK_EQ(int(reads.CodeOf(2)), int(Code::kAccess));
  CHECK_EQ(store.Take().size(), 1u);
  store.EndReads();
  CHECK_EQ(reads.ended.load(), 10);
  CHECK_EQ(int(reads.CodeOf(0)), int(Code::kRegionRemoved));
  CHECK_EQ(int(reads.CodeOf(18)), int(Code::kRegionRemoved));
  CHECK(!store.Answer(taken[0].id, CallbackBytes(taken[0])));
  store.StartRead({40, 1}, memory.data(), reads.Done(40));
  CHECK_EQ(int(reads.CodeOf(40)), int(Code::kRegionRemoved));
  CHECK(store.Take().empty());
}

// What nobody waits for yet comes after what somebody waits for, and never takes the last place.
FARPAGE_TEST(callback_background_reads_give_way) {
  Reads reads;
  CallbackStoreOptions options = OptionsOf([] {});
  options.requests_max = 2;
  CallbackStore store(std::move(options));
  std::vector<std::byte> memory(kSize + kPageBytes);
  const auto start = [&](PageIndex page, bool background) {
    std::byte* into = memory.data() + (page << kPageShift);
    if (background) {
      store.StartBackgroundRead({page, 1}, into, reads.Done(page));
    } else {
      store.StartRead({page, 1}, into, reads.Done(page));
    }
  };
  for (const PageIndex page : {0, 2, 4}) start(page, true);
  const auto first = store.Take();
  REQUIRE(first.size() == 1);
  CHECK_EQ(first[0].run.first, 0u);
  start(6, false);
  const auto demanded = store.Take();
  REQUIRE(demanded.size() == 1);
  CHECK_EQ(demanded[0].run.first, 6u);
  start(8, false);
  Supply(store, first[0]);
  const auto next = store.Take();
  REQUIRE(next.size() == 1);
  CHECK_EQ(next[0].run.first, 8u);
  Supply(store, demanded[0]);
  Supply(store, next[0]);
  const auto last = store.Take();
  REQUIRE(last.size() == 1);
  CHECK_EQ(last[0].run.first, 2u);
  Supply(store, last[0]);
  for (const CallbackRequest& request : store.Take()) Supply(store, request);
  CHECK_EQ(reads.ended.load(), 5);
}

// What nobody waits for may take longer as long as bytes come, for any of it; nothing else may.
FARPAGE_TEST(callback_background_reads_end_when_nothing_comes) {
  constexpr uint64_t kDeadlineNs = 1'500'000'000;
  Reads reads;
  CallbackStoreOptions options = OptionsOf([] {}, kDeadlineNs);
  options.requests_max = 4;
  CallbackStore store(std::move(options));
  std::vector<std::byte> memory(kSize + kPageBytes);
  const auto into = [&](PageIndex page) { return memory.data() + (page << kPageShift); };
  for (const PageIndex page : {0, 2, 4}) {
    store.StartBackgroundRead({page, 1}, into(page), reads.Done(page));
  }
  store.StartRead({8, 1}, into(8), reads.Done(8));
  const auto taken = store.Take();
  REQUIRE(taken.size() == 3);
  CHECK_EQ(taken[0].run.first, 8u);
  CHECK(!taken[0].background && taken[1].background && taken[2].background);
  const uint64_t begin = NowNs();
  // Longer than the deadline after all of them began.
  while (NowNs() - begin < kDeadlineNs * 3 / 2) {
    CHECK(store.TellAlive(taken[1].id));
    Nap(5);
  }
  CHECK_EQ(int(reads.CodeOf(8)), int(Code::kTimeout));
  CHECK_EQ(reads.ended.load(), 1);
  Supply(store, taken[1]);
  CHECK_EQ(int(reads.CodeOf(0)), int(Code::kOk));
  CHECK(!store.TellAlive(taken[1].id));
  // Silence: also of what was never taken.
  while (reads.ended < 4 && NowNs() - begin < 20 * kDeadlineNs) Nap(5);
  CHECK_EQ(int(reads.CodeOf(2)), int(Code::kTimeout));
  CHECK_EQ(int(reads.CodeOf(4)), int(Code::kTimeout));
}

// A late answer, a second one and one of another length put no byte anywhere.
FARPAGE_TEST(callback_late_double_and_short_answers_change_nothing) {
  Reads reads;
  CallbackStoreOptions options = OptionsOf([] {}, kShortNs);
  options.requests_max = 1;
  CallbackStore store(std::move(options));
  std::vector<std::byte> memory(4 << kPageShift, std::byte{0x11});
  store.StartRead({0, 1}, memory.data(), reads.Done(0));
  const auto late = store.Take();
  REQUIRE(late.size() == 1);
  store.StartRead({2, 1}, memory.data(), reads.Done(2));
  const uint64_t begin = NowNs();
  while (reads.ended < 2 && NowNs() - begin < 10'000'000'000) Nap(1);
  CHECK(NowNs() - begin > kShortNs / 2);
  CHECK_EQ(int(reads.CodeOf(0)), int(Code::kTimeout));
  CHECK_EQ(int(reads.CodeOf(2)), int(Code::kTimeout));
  // It keeps its place until it has answered, or been refused.
  store.StartRead({3, 1}, memory.data(), reads.Done(3));
  CHECK(store.Take().empty());
  CHECK(store.Answer(late[0].id, CallbackBytes(late[0])));
  CHECK(!store.Answer(late[0].id, CallbackBytes(late[0])));
  CHECK(!store.Refuse(late[0].id, {Code::kIo, 0, ""}));
  const auto next = store.Take();
  REQUIRE(next.size() == 1);
  const std::byte few[3]{};
  CHECK(store.Answer(next[0].id, few));
  CHECK_EQ(int(reads.CodeOf(3)), int(Code::kInternal));
  bool untouched = true;
  for (const std::byte byte : memory) untouched = untouched && byte == std::byte{0x11};
  CHECK(untouched);
}

// What the program fails with is told, but nothing that would be taken for the asker's own trouble.
FARPAGE_TEST(callback_failures_are_told_to_who_asked) {
  std::atomic<int> fail{0};
  Program program([&](CallbackStore& store, const CallbackRequest& request) {
    if (fail == 0) {
      Supply(store, request);
    } else {
      store.Refuse(request.id, {static_cast<Code>(fail.load()), 0, "the program"});
    }
  });
  Supplied supplied(program);
  const auto code_of = [&](PageIndex page) {
    auto reader = supplied.appliance.Connect();
    std::byte byte{};
    return Read(*reader, supplied.stag, page << kPageShift, &byte, 1).code;
  };
  CHECK_EQ(int(code_of(1)), 0);
  const std::pair<Code, Code> told[] = {{Code::kSourceChanged, Code::kSourceChanged},
                                        {Code::kFileAccess, Code::kFileAccess},
                                        {Code::kConnection, Code::kSourceAway},
                                        {Code::kStag, Code::kSourceAway},
                                        {Code::kProtocol, Code::kIo}};
  for (const auto& [code, heard] : told) {
    fail = static_cast<int>(code);
    CHECK_EQ(int(code_of(100)), int(heard));
    CHECK_EQ(int(code_of(1)), 0);
  }
  fail = 0;
  CHECK_EQ(int(code_of(100)), 0);
  CheckQuiet(supplied.appliance);
}

// A program that never looks costs the deadline of what needs it and nothing else.
FARPAGE_TEST(callback_silent_program_meets_the_deadline_and_removal) {
  for (const bool remove : {false, true}) {
    Program program(Supply);
    Appliance appliance;
    auto owned = std::make_unique<CallbackStore>(
        OptionsOf(program.Bell(), remove ? kLongNs : kShortNs));
    const uint32_t stag = appliance.OpenStaged(kSize, std::move(owned));
    auto reader = appliance.Connect();
    std::byte byte{};
    WorkRequest request;
    request.stag = stag;
    request.length_bytes = 1;
    request.local = &byte;
    CHECK_EQ(reader->Post({&request, 1}), 1u);
    reader->Flush();
    while (program.rings == 0) Nap(1);
    const uint64_t deadline = NowNs() + 10'000'000'000;
    if (remove) appliance.RemoveRegion();
    Completion completion;
    completion.code = Code::kInternal;
    while (reader->Poll({&completion, 1}) == 0 && reader->Wait(1000, deadline).ok()) {
    }
    CHECK_EQ(int(completion.code), int(remove ? Code::kRegionRemoved : Code::kTimeout));
  }
}

// Readers over a small memory, a program of two threads that refuses, forgets and is late, and a
// removal in the middle of it all: whatever is read is right.
FARPAGE_TEST(callback_many_readers_of_an_unreliable_program) {
  std::atomic<uint32_t> turn{0};
  Program program(
      [&](CallbackStore& store, const CallbackRequest& request) {
        const uint32_t n = turn++ % 16;
        if (n == 3) {
          store.Refuse(request.id, {Code::kIo, 0, "now and then"});
        } else if (n == 7) {
          Nap(25);  // beyond the deadline
          store.Answer(request.id, CallbackBytes(request));
        } else {
          store.Answer(request.id, CallbackBytes(request));
          store.Answer(request.id, CallbackBytes(request));
        }
      },
      2);
  ApplianceOptions options;
  options.frames_max = 64;
  Supplied supplied(program, 20'000'000, options);
  std::atomic<int> right{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (uint32_t seed = 1; seed <= 3; seed++) {
    readers.emplace_back([&, seed] {
      uint32_t random = seed;
      std::unique_ptr<Initiator> reader = supplied.appliance.Connect();
      for (int n = 0; n < 150; n++) {
        random = random * 1664525 + 1013904223;
        const uint64_t at = (uint64_t{random} % (kSize - 9000));
        std::byte bytes[9000];
        if (Read(*reader, supplied.stag, at, bytes, sizeof bytes).code != Code::kOk) {
          reader = supplied.appliance.Connect();
          continue;
        }
        bool same = true;
        for (uint64_t k = 0; k < sizeof bytes; k++) same = same && bytes[k] == CallbackByte(at + k);
        (same ? right : wrong)++;
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  CHECK_EQ(wrong.load(), 0);
  CHECK(right.load() > 50);
  // Reads that end together, while the program answers some of them. As in an environment of
  // JavaScript, it takes no more once the region is closed.
  for (PageIndex page = 0; page < 400; page += 7) {
    (void)supplied.appliance.pager.Fault(supplied.appliance.region, {page, 1}, FaultKind::kRead,
                                         nullptr, 0, nullptr, nullptr);
  }
  supplied.store->EndReads();
  program.Stop();
  supplied.appliance.RemoveRegion();
}

}  // namespace farpage::test
