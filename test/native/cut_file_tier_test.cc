// Tiers under a file that is cut: what went with its end is lost, and nothing else.
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "appliance_fixture.h"
#include "check.h"
#include "quiet.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 64;
constexpr uint64_t kLeft = 32;  // after the cut
constexpr PageIndex kBefore = 8;
constexpr PageIndex kBehind = 40;
constexpr uint64_t kSome = 6;  // pages written in each part

std::byte ByteOf(PageIndex page) { return static_cast<std::byte>(page * 7 + 1); }

// Keeps pages, and cuts the file that they are from in the middle of giving one back.
class CuttingTier final : public Tier {
 public:
  explicit CuttingTier(const std::string& path) : path_(path) {}
  void Put(std::span<TierPage> pages) override {
    for (TierPage& page : pages) {
      page.slot = kept_.size();
      kept_.emplace_back(page.bytes, page.bytes + kPageBytes);
      pages_++;
    }
  }
  Status Get(TierSlot slot, std::byte* into) override {
    CHECK_EQ(::truncate(path_.c_str(), off_t(kLeft << kPageShift)), 0);
    std::memcpy(into, kept_[slot].data(), kPageBytes);
    return {};
  }
  void Free(TierSlot) override { pages_--; }
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] const char* kind() const override { return "cutting"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return 0; }

 private:
  const std::string path_;
  std::vector<std::vector<std::byte>> kept_;
};

// A file served writable over compressed memory, or over a spill file.
struct Served {
  explicit Served(uint64_t compressed_pages) {
    ApplianceOptions options;
    options.read_ahead_pages = 0;
    appliance = std::make_unique<Appliance>(options);
    appliance->UseTiers(compressed_pages, 512);
    path = appliance->folder.File("data");
    { std::ofstream(path) << std::string(kPages << kPageShift, 'f'); }
    stag = appliance->OpenFile(path, true);
    auto user = appliance->Connect();
    for (PageIndex n = 0; n < kSome; n++) {
      Put(*user, kBefore + n);
      Put(*user, kBehind + n);
    }
  }

  void Put(Initiator& user, PageIndex page) const {
    // One page of each: what compresses, what does not, and a single value.
    std::vector<std::byte> bytes(kPageBytes, ByteOf(page));
    for (size_t n = 0; n < kPageBytes && page % 3 != 0; n += page % 3) {
      bytes[n] = static_cast<std::byte>(n * n * page >> 3);
    }
    bytes[0] = ByteOf(page);
    CHECK_EQ(int(Write(user, stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes)).code),
             int(Code::kOk));
  }
  [[nodiscard]] Code CodeOf(PageIndex page) const {
    auto user = appliance->Connect();
    std::byte found{};
    const Code code = Read(*user, stag, page << kPageShift, &found, 1).code;
    if (code == Code::kOk) CHECK_EQ(int(found), int(ByteOf(page)));
    return code;
  }
  void Cut(uint64_t pages) const {
    CHECK_EQ(::truncate(path.c_str(), static_cast<off_t>(pages << kPageShift)), 0);
  }

  std::unique_ptr<Appliance> appliance;
  std::string path;
  uint32_t stag = 0;
};

void LosesWhatWentWithTheEnd(uint64_t compressed_pages) {
  Served served(compressed_pages);
  Appliance& appliance = *served.appliance;
  served.Cut(kLeft);
  const EvictionResult result = appliance.pager.Demote(appliance.region, {0, kPages});
  CHECK_EQ(result.spilled_pages, kSome);
  CHECK_EQ(result.evicted_pages, 2 * kSome);
  CHECK_EQ(result.refused_pages, 0u);
  CHECK_EQ(appliance.region->table->present(), 0u);
  for (PageIndex n = 0; n < kSome; n++) {
    CHECK_EQ(int(served.CodeOf(kBefore + n)), int(Code::kOk));
    CHECK_EQ(int(served.CodeOf(kBehind + n)), int(Code::kPageLost));
  }
  // Told by each sync; what is left of the file has the rest.
  const auto synced = appliance.Sync();
  CHECK(!synced.ok());
  CHECK_EQ(int(synced.error().code), int(Code::kPageLost));
  CHECK_EQ(appliance.region->table->dirty(), kSome);
  CheckQuiet(appliance);
}

void KeepsWhatWasThereBefore(uint64_t compressed_pages) {
  Served served(compressed_pages);
  Appliance& appliance = *served.appliance;
  CHECK_EQ(appliance.pager.Demote(appliance.region, {0, kPages}).spilled_pages, 2 * kSome);
  served.Cut(kLeft);
  for (PageIndex n = 0; n < kSome; n++) CHECK(served.CodeOf(kBehind + n) != Code::kOk);
  served.Cut(kPages);
  for (PageIndex n = 0; n < kSome; n++) {
    CHECK_EQ(int(served.CodeOf(kBefore + n)), int(Code::kOk));
    CHECK_EQ(int(served.CodeOf(kBehind + n)), int(Code::kOk));
  }
  CHECK(appliance.Sync().ok());
  CheckQuiet(appliance);
}

}  // namespace

FARPAGE_TEST(cut_file_loses_a_page_that_comes_out_of_a_tier_meanwhile) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  { std::ofstream(path) << std::string(kPages << kPageShift, 'f'); }
  std::vector<std::unique_ptr<Tier>> levels;
  levels.push_back(std::make_unique<CuttingTier>(path));
  appliance.UseTiers(std::move(levels));
  const uint32_t stag = appliance.OpenFile(path, true);
  auto user = appliance.Connect();
  for (const PageIndex page : {kBefore, kBehind}) {
    const std::byte mark = ByteOf(page);
    REQUIRE(Write(*user, stag, page << kPageShift, &mark, 1).code == Code::kOk);
  }
  CHECK_EQ(appliance.pager.Demote(appliance.region, {0, kPages}).spilled_pages, 2u);
  std::byte found{};
  CHECK_EQ(int(Read(*user, stag, kBehind << kPageShift, &found, 1).code), int(Code::kPageLost));
  user = appliance.Connect();
  CHECK_EQ(int(Read(*user, stag, kBefore << kPageShift, &found, 1).code), int(Code::kOk));
  CHECK_EQ(int(found), int(ByteOf(kBefore)));
  CheckQuiet(appliance);
}

FARPAGE_TEST(cut_file_loses_what_went_with_its_end_and_not_to_compressed_memory) {
  LosesWhatWentWithTheEnd(512);
}
FARPAGE_TEST(cut_file_loses_what_went_with_its_end_and_not_to_a_spill_file) {
  LosesWhatWentWithTheEnd(0);
}
FARPAGE_TEST(cut_file_keeps_what_was_in_compressed_memory_before) { KeepsWhatWasThereBefore(512); }
FARPAGE_TEST(cut_file_keeps_what_was_in_a_spill_file_before) { KeepsWhatWasThereBefore(0); }

}  // namespace farpage::test
