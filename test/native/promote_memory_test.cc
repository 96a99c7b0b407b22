// Promotion out of tiers in memory: many pages by one write, and what becomes of those that cannot
// come.
#include <set>

#include "pool_fixture.h"
#include "stores/compressed_tier.h"
#include "stores/spill_tier.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 100;
static_assert(kPages % kTakenTogether != 0);

// A tier in memory that gives back other bytes than it took of the pages it took as these.
class ForgettingTier final : public Tier {
 public:
  explicit ForgettingTier(std::set<TierSlot> forgets) : forgets_(std::move(forgets)) {}
  void Put(std::span<TierPage> pages) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (TierPage& page : pages) {
      page.slot = kept_.size();
      kept_.emplace_back(page.bytes, page.bytes + kPageBytes);
    }
    pages_ += pages.size();
  }
  Status Get(TierSlot slot, std::byte* into) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::memcpy(into, kept_[slot].data(), kPageBytes);
    if (forgets_.contains(slot)) into[kPageBytes / 2] ^= std::byte{1};
    return {};
  }
  void Free(TierSlot) override { pages_--; }
  [[nodiscard]] bool gets_in_place() const override { return true; }
  [[nodiscard]] const char* kind() const override { return "forgetting"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return 0; }

 private:
  const std::set<TierSlot> forgets_;
  std::mutex mutex_;
  std::vector<std::vector<std::byte>> kept_;
};

// Dirty pages, all of which are in the tiers.
struct Demoted {
  explicit Demoted(std::vector<std::unique_ptr<Tier>> levels) : spiller(std::move(levels), 1024) {
    for (PageIndex page = 0; page < kPages; page++) CHECK(spiller.Put(page, 1) == Code::kOk);
    // Again for the last one, which may be held for who wrote it.
    CHECK(Becomes([&] {
      (void)spiller.appliance.pager.Demote(region(), {0, Spiller::kPages});
      return spiller.InTier(kPages).size() == kPages;
    }));
  }
  [[nodiscard]] const std::shared_ptr<Region>& region() { return spiller.appliance.region; }
  uint64_t Promote() {
    return spiller.appliance.pager.Promote(region(), {0, Spiller::kPages});
  }
  [[nodiscard]] uint64_t InTiers() {
    TierStack& tiers = *spiller.appliance.tiers;
    uint64_t pages = 0;
    for (size_t n = 0; n < tiers.size(); n++) pages += tiers.tier(n).pages();
    return pages;
  }
  // Everything that is said of pages which are all here again but for so many.
  void ExpectPresent(uint64_t missing) {
    CHECK_EQ(region()->table->present(), kPages - missing);
    CHECK_EQ(region()->frames.used(), kPages - missing);
    CHECK_EQ(region()->table->dirty(), kPages);
  }
  Spiller spiller;
};

std::unique_ptr<Tier> Compressed(uint64_t pages) {
  return std::move(CompressedTier::Create(pages << kPageShift)).value();
}

}  // namespace

FARPAGE_TEST(promote_out_of_memory_brings_every_page_as_it_went) {
  Demoted test(Only(Compressed(1024)));
  CHECK_EQ(test.Promote(), kPages);
  test.ExpectPresent(0);
  CHECK_EQ(test.InTiers(), 0u);
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK_EQ(int(test.spiller.Find(page, 1)), int(Code::kOk));
  }
}

FARPAGE_TEST(promote_out_of_memory_goes_past_pages_that_came_back_wrong) {
  // The first of a batch, the last of all, two together.
  const std::set<PageIndex> wrong{0, 37, 38, kPages - 1};
  Demoted test(Only(std::make_unique<ForgettingTier>(wrong)));
  CHECK_EQ(test.Promote(), kPages - wrong.size());
  test.ExpectPresent(wrong.size());
  CHECK_EQ(test.region()->table->lost(), wrong.size());
  CHECK_EQ(test.InTiers(), 0u);
  for (PageIndex page = 0; page < kPages; page++) {
    const Code expected = wrong.contains(page) ? Code::kPageLost : Code::kOk;
    CHECK_EQ(int(test.spiller.Find(page, 1)), int(expected));
  }
}

// What region memory has no room for is still in its tier.
FARPAGE_TEST(promote_out_of_memory_leaves_there_what_finds_no_memory) {
  Demoted test(Only(Compressed(1024)));
  {
    // Nothing else in this process writes to a file meanwhile.
    const CallFault full("/", kCallWrite, 2, ENOSPC);
    CHECK_EQ(test.Promote(), kPages - kTakenTogether);
    CHECK(full.reached());
  }
  test.ExpectPresent(kTakenTogether);
  CHECK_EQ(test.InTiers(), kTakenTogether);
  CHECK_EQ(test.region()->table->lost(), 0u);
  CHECK_EQ(test.Promote(), kTakenTogether);
  test.ExpectPresent(0);
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK_EQ(int(test.spiller.Find(page, 1)), int(Code::kOk));
  }
}

// A run of which a part has gone on to a file: the file is read page by page, as before.
FARPAGE_TEST(promote_brings_pages_out_of_memory_and_out_of_a_file) {
  std::vector<std::unique_ptr<Tier>> levels;
  levels.push_back(Compressed(32));
  const TemporaryFolder folder;
  levels.push_back(std::move(SpillTier::Open(folder.File("."), 4096 << kPageShift)).value());
  Demoted test(std::move(levels));
  TierStack& tiers = *test.spiller.appliance.tiers;
  CHECK(tiers.tier(0).pages() != 0 && tiers.tier(1).pages() != 0);
  CHECK_EQ(test.Promote(), kPages);
  test.ExpectPresent(0);
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK_EQ(int(test.spiller.Find(page, 1)), int(Code::kOk));
  }
}

}  // namespace farpage::test
