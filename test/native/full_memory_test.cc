// READs where memory is full: each page is answered, or fails, as it would alone, also late.
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "elsewhere.h"
#include "faulty_fixture.h"
#include "stores/compressed_tier.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 128;
constexpr uint64_t kFrames = 15;  // so few that writers leave none to those who read
constexpr PageIndex kFirstWritten = 100;
constexpr uint32_t kReads = 100;  // of 3,000 bytes and more: a Unix socket holds 208 KiB
constexpr uint16_t kDepth = 128;
constexpr uint8_t kBothOrders[] = {kFlagAnyOrder | kFlagReason, kFlagReason};

ApplianceOptions Few(uint64_t frames) {
  ApplianceOptions options;
  options.frames_max = frames;
  return options;
}

// All memory holds pages that were written and that nothing takes.
struct Full {
  Full() : appliance(Few(kFrames)) {
    stag = appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kOne);
    const auto writer = appliance.Connect();
    REQUIRE(writer != nullptr);
    for (PageIndex page = kFirstWritten; page < kFirstWritten + kFrames; page++) {
      CHECK_EQ(int(Write(*writer, stag, page << kPageShift, "w", 1).code), int(Code::kOk));
    }
  }
  Appliance appliance;
  uint32_t stag = 0;
};

// Posts more READs of `bytes`, each `step` behind the one before, than the socket holds answers,
// and leaves those there.
void FillSocket(Appliance& appliance, Initiator& initiator, uint32_t stag, uint32_t bytes,
                uint64_t step, std::vector<std::byte>& into) {
  const auto answered = [&] {
    const OperationCounters& lane = appliance.region->operations[0];
    return lane.faulted.load() + lane.bypassed.load();
  };
  const uint64_t before = answered();
  PostReads(initiator, stag, kReads, bytes, into, step);
  CHECK(Await([&] { return answered() > before + 16; }));
  Nap(20);  // for the rest of what finds room in the queue
}

}  // namespace

// The page that was lent is absent again when its answer goes on.
FARPAGE_TEST(full_memory_lends_pages_to_who_takes_them_late) {
  for (const uint8_t flags : kBothOrders) {
    for (const uint32_t bytes : {3000u, 4096u}) {
      Full full;
      const auto initiator = full.appliance.Connect(false, false, kDepth, flags);
      REQUIRE(initiator != nullptr);
      std::vector<std::byte> got;
      FillSocket(full.appliance, *initiator, full.stag, bytes, kPageBytes, got);
      CHECK_EQ(int(AwaitAll(*initiator)), int(Code::kOk));
      CHECK(got == std::vector<std::byte>(bytes, std::byte{0xff}));
      CHECK_EQ(full.appliance.region->table->present(), kFrames);
    }
  }
}

// A page went while its answer waited for the socket, and cannot come back: the stream is not
// padded, and who repeats the request is told why.
FARPAGE_TEST(full_memory_ends_an_answer_whose_page_does_not_come_back) {
  Appliance appliance;
  auto made = std::make_unique<SlowElsewhere>();
  SlowElsewhere& store = *made;
  const uint32_t stag = appliance.OpenStaged(kPages << kPageShift, std::move(made));
  auto initiator = appliance.Connect(false, false, kDepth);
  REQUIRE(initiator != nullptr);
  std::vector<std::byte> got;
  FillSocket(appliance, *initiator, stag, uint32_t(kPageBytes), 0, got);
  store.bad = 0;
  CHECK_EQ(appliance.pager.Reclaim(appliance.region, {0, 1}), 1u);
  const Code code = AwaitAll(*initiator);
  CHECK(code != Code::kOk && code != Code::kTimeout);
  initiator = appliance.Connect();
  REQUIRE(initiator != nullptr);
  CHECK_EQ(int(Read(*initiator, stag, 0, got.data(), 8).code), int(Code::kIo));
}

FARPAGE_TEST(full_memory_and_tiers_answer_untouched_and_spilled_pages_together) {
  for (const uint8_t flags : kBothOrders) {
    Appliance appliance(Few(24));
    std::vector<std::unique_ptr<Tier>> levels;
    auto only = CompressedTier::Create(16 << kPageShift);
    REQUIRE(only.ok());
    levels.push_back(std::move(only).value());
    appliance.UseTiers(std::move(levels));
    const uint32_t stag = appliance.OpenAnonymous(kPages << kPageShift,
                                                  FillValueStore::Value::kZero);
    auto initiator = appliance.Connect();
    REQUIRE(initiator != nullptr);
    std::mt19937_64 random(7);
    std::vector<std::byte> want(kPages << kPageShift);
    PageIndex end = 1;  // odd pages are written
    for (Code code = Code::kOk; code == Code::kOk && end < kPages; end += 2) {
      std::byte* const noise = want.data() + (end << kPageShift);
      for (uint64_t n = 0; n < kPageBytes; n++) noise[n] = static_cast<std::byte>(random());
      code = Write(*initiator, stag, end << kPageShift, noise, uint32_t(kPageBytes)).code;
      if (code != Code::kOk) CHECK_EQ(int(code), int(Code::kNoSpace));
    }
    REQUIRE(end > 2 * (24 + 12) && end < kPages);
    initiator = appliance.Connect(false, false, 64, flags);
    REQUIRE(initiator != nullptr);
    std::vector<std::byte> got(2 * kPageBytes);
    for (PageIndex page = 0; page + 3 < end; page += 2) {
      const auto bytes = uint32_t(got.size());
      const Completion done = Read(*initiator, stag, page << kPageShift, got.data(), bytes);
      REQUIRE(done.code == Code::kOk);
      CHECK(std::memcmp(got.data(), want.data() + (page << kPageShift), bytes) == 0);
    }
  }
}

FARPAGE_TEST(full_memory_says_which_page_may_not_be_read) {
  Full full;
  Indicators& indicators = full.appliance.pager.indicators();
  REQUIRE(indicators.Protect(*full.appliance.region, {2, 1}, Permission::kNone).ok());
  std::vector<std::byte> got(3 * kPageBytes);
  for (const uint32_t pages : {2u, 3u}) {
    const auto initiator = full.appliance.Connect();
    REQUIRE(initiator != nullptr);
    const uint64_t first = 3 - pages;
    const Completion done = Read(*initiator, full.stag, first << kPageShift, got.data(),
                                 pages << kPageShift);
    CHECK_EQ(int(done.code), int(Code::kAccess));
  }
}

}  // namespace farpage::test
