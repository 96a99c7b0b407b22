// Dirty pages beyond the budget: in the tiers, and back.
#include <cstring>
#include <fstream>
#include <random>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

std::vector<std::byte> Bytes(PageIndex page, uint8_t version) {
  std::vector<std::byte> bytes(kPageBytes);
  for (size_t n = 0; n < bytes.size(); n++) {
    bytes[n] = static_cast<std::byte>(page * 31 + version + (page % 2 == 0 ? n * n / 7 : 0));
  }
  return bytes;
}

bool Holds(Initiator& initiator, uint32_t stag, PageIndex page, uint8_t version) {
  std::vector<std::byte> found(kPageBytes);
  const Completion read =
      Read(initiator, stag, page << kPageShift, found.data(), uint32_t(kPageBytes));
  return read.code == Code::kOk && found == Bytes(page, version);
}

Code Put(Initiator& initiator, uint32_t stag, PageIndex page, uint8_t version) {
  const auto bytes = Bytes(page, version);
  return Write(initiator, stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes)).code;
}

constexpr uint64_t kPages = 300;

}  // namespace

FARPAGE_TEST(spill_keeps_more_dirty_pages_than_there_are_frames) {
  ApplianceOptions options;
  options.frames_max = 24;
  Appliance appliance(options);
  appliance.UseTiers(64, 4096);
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  for (PageIndex page = 0; page < kPages; page++) {
    REQUIRE(Put(*initiator, stag, page, 1) == Code::kOk);
  }
  CHECK(appliance.pager.budget().used() <= 24);
  CHECK(appliance.region->table->present() <= 24);
  CHECK_EQ(appliance.region->table->dirty(), kPages);
  for (PageIndex page = 0; page < kPages; page++) CHECK(Holds(*initiator, stag, page, 1));
  // Written again, some of them, and once more around.
  for (PageIndex page = 0; page < kPages; page += 3) {
    REQUIRE(Put(*initiator, stag, page, 2) == Code::kOk);
  }
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK(Holds(*initiator, stag, page, page % 3 == 0 ? 2 : 1));
  }
}

FARPAGE_TEST(spill_is_written_back_by_a_sync_and_leaves_the_tiers_empty) {
  ApplianceOptions options;
  options.frames_max = 24;
  Appliance appliance(options);
  appliance.UseTiers(64, 4096);
  const std::string path = appliance.folder.File("data");
  { std::ofstream(path) << std::string((kPages << kPageShift) - 100, 'x'); }
  const uint32_t stag = appliance.OpenFile(path, true);
  auto initiator = appliance.Connect();
  for (PageIndex page = 0; page + 1 < kPages; page += 2) {
    REQUIRE(Put(*initiator, stag, page, 1) == Code::kOk);
  }
  const std::string tail = "the last partial page";
  REQUIRE(Write(*initiator, stag, (kPages - 1) << kPageShift, tail.data(),
                uint32_t(tail.size())).code == Code::kOk);
  // Something for the last page to be pushed out by.
  for (PageIndex page = 1; page < 60; page += 2) {
    std::byte one;
    REQUIRE(Read(*initiator, stag, page << kPageShift, &one, 1).code == Code::kOk);
  }
  const auto receipt = appliance.Sync();
  REQUIRE(receipt.ok());
  CHECK_EQ(receipt.value().pages_written, kPages / 2 + 1);
  CHECK_EQ(appliance.region->table->dirty(), 0u);
  // What was moving between the tiers when the sync took it is let go of a moment later.
  uint64_t left = 0;
  const uint64_t deadline = NowNs() + 10'000'000'000;
  do {
    left = 0;
    for (size_t n = 0; n < appliance.tiers->size(); n++) left += appliance.tiers->tier(n).pages();
  } while (left != 0 && NowNs() < deadline);
  CHECK_EQ(left, 0u);
  for (PageIndex page = 0; page + 1 < kPages; page += 2) {
    CHECK(Holds(*initiator, stag, page, 1));
  }
  std::ifstream in(path, std::ios::binary);
  std::string found{std::istreambuf_iterator<char>(in), {}};
  REQUIRE(found.size() == (kPages << kPageShift) - 100);
  for (PageIndex page = 0; page + 1 < kPages; page++) {
    const auto want = page % 2 == 0 ? Bytes(page, 1) : std::vector(kPageBytes, std::byte{'x'});
    CHECK(std::memcmp(found.data() + (page << kPageShift), want.data(), kPageBytes) == 0);
  }
  CHECK(found.compare((kPages - 1) << kPageShift, tail.size(), tail) == 0);
}

FARPAGE_TEST(spill_without_room_stops_writers_and_not_readers) {
  ApplianceOptions options;
  options.frames_max = 24;
  Appliance appliance(options);
  std::vector<std::unique_ptr<Tier>> levels;
  auto only = CompressedTier::Create(16 << kPageShift);
  REQUIRE(only.ok());
  levels.push_back(std::move(only).value());
  appliance.UseTiers(std::move(levels));
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  PageIndex page = 0;
  Code code = Code::kOk;
  std::mt19937_64 random(7);
  std::vector<std::byte> noise(kPageBytes);
  while (code == Code::kOk && page < kPages) {
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    code = Write(*initiator, stag, page++ << kPageShift, noise.data(), uint32_t(kPageBytes)).code;
  }
  CHECK_EQ(int(code), int(Code::kNoSpace));
  CHECK(page > 24 + 12);
  initiator = appliance.Connect();
  std::byte one;
  // Every page that was written, in memory or in the tier, can be read, again and again.
  for (PageIndex each = 0; each < 2 * (page - 1); each++) {
    const PageIndex at = each % (page - 1);
    REQUIRE(Read(*initiator, stag, at << kPageShift, &one, 1).code == Code::kOk);
  }
  // And written, all of it or a part: it takes the place of what it was.
  for (PageIndex each = 0; each < 2 * (page - 1); each++) {
    const uint32_t bytes = each % 3 == 0 ? 100 : uint32_t(kPageBytes);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    const uint64_t at = (each % (page - 1)) << kPageShift;
    REQUIRE(Write(*initiator, stag, at, noise.data(), bytes).code == Code::kOk);
  }
  CHECK(appliance.pager.budget().used() <= 24 + 4);
}

namespace {

// Forgets what it was given, or cannot read it.
class BrokenTier final : public Tier {
 public:
  void Put(std::span<TierPage> pages) override { pages_ += pages.size(); }
  Status Get(TierSlot, std::byte* into) override {
    if (io_error.load()) return Error{Code::kIo, EIO, "a broken tier"};
    std::memset(into, 0x77, kPageBytes);
    return {};
  }
  void Free(TierSlot) override { pages_--; }
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] const char* kind() const override { return "broken"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return 0; }
  std::atomic<bool> io_error{true};
};

}  // namespace

FARPAGE_TEST(spill_that_a_tier_cannot_give_back_is_an_error_then_lost_and_all_else_goes_on) {
  Appliance appliance;
  std::vector<std::unique_ptr<Tier>> levels;
  levels.push_back(std::make_unique<BrokenTier>());
  auto* tier = static_cast<BrokenTier*>(levels[0].get());
  appliance.UseTiers(std::move(levels));
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  REQUIRE(Put(*initiator, stag, 5, 1) == Code::kOk);
  REQUIRE(Put(*initiator, stag, 200, 1) == Code::kOk);
  const EvictionResult gone = appliance.pager.Demote(appliance.region, {0, 100});
  CHECK_EQ(gone.spilled_pages, 1u);
  CHECK_EQ(appliance.region->table->present(), 1u);
  // An error of the device may pass: nothing is lost by it.
  std::byte one;
  CHECK_EQ(int(Read(*initiator, stag, 5 << kPageShift, &one, 1).code), int(Code::kIo));
  CHECK_EQ(appliance.region->table->lost(), 0u);
  tier->io_error.store(false);
  initiator = appliance.Connect();
  CHECK_EQ(int(Read(*initiator, stag, 5 << kPageShift, &one, 1).code), int(Code::kPageLost));
  CHECK_EQ(appliance.region->table->lost(), 1u);
  initiator = appliance.Connect();
  CHECK(Holds(*initiator, stag, 200, 1));
  CHECK_EQ(tier->pages(), 0u);
}

}  // namespace farpage::test
