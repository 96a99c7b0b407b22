// Tiers alone: compressed memory, the spill file, and a stack of both.
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/page.h"
#include "check.h"
#include "stores/compressed_tier.h"
#include "stores/page_codec.h"
#include "stores/spill_tier.h"
#include "stores/tier_stack.h"

namespace farpage::test {
namespace {

// Page-aligned, as region memory is.
class Pages {
 public:
  explicit Pages(size_t count)
      : memory_(static_cast<std::byte*>(::aligned_alloc(kPageBytes, count << kPageShift))) {
    std::memset(memory_, 0, count << kPageShift);
  }
  ~Pages() { ::free(memory_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  [[nodiscard]] std::byte* at(size_t index) const { return memory_ + (index << kPageShift); }

 private:
  std::byte* memory_;
};

enum class Kind : uint8_t { kUniform, kText, kNoise };

// What page `number` holds in its `version`: every kind that a tier treats differently.
void Write(std::byte* page, uint64_t number, uint64_t version, Kind kind) {
  std::mt19937_64 random(number * 1'000'003 + version);
  if (kind == Kind::kUniform) {
    std::memset(page, static_cast<int>(number + version), kPageBytes);
    return;
  }
  for (size_t at = 0; at < kPageBytes; at += 8) {
    uint64_t word = random();
    if (kind == Kind::kText) word &= 0x0f;
    std::memcpy(page + at, &word, 8);
  }
}
Kind KindOf(uint64_t number) { return static_cast<Kind>(number % 3); }

bool Same(const std::byte* page, uint64_t number, uint64_t version, Kind kind) {
  const Pages want(1);
  Write(want.at(0), number, version, kind);
  return std::memcmp(page, want.at(0), kPageBytes) == 0;
}

std::unique_ptr<Tier> Compressed(uint64_t bytes) {
  auto tier = CompressedTier::Create(bytes);
  CHECK(tier.ok());
  return std::move(tier).value();
}

// A folder that goes with the test.
struct Folder {
  Folder() { CHECK(::mkdtemp(path.data()) != nullptr); }
  ~Folder() { ::rmdir(path.c_str()); }
  std::string path = "/var/tmp/farpage-tier-XXXXXX";
};

void PutGetFree(Tier& tier) {
  constexpr size_t kCount = 200;
  const Pages pages(kCount);
  const Pages back(1);
  std::vector<TierPage> put(kCount);
  for (size_t n = 0; n < kCount; n++) {
    Write(pages.at(n), n, 0, KindOf(n));
    put[n].bytes = pages.at(n);
  }
  tier.Put(put);
  CHECK_EQ(tier.pages(), kCount);
  for (size_t n = 0; n < kCount; n++) {
    REQUIRE(put[n].outcome.ok());
    REQUIRE(tier.Get(put[n].slot, back.at(0)).ok());
    CHECK(std::memcmp(back.at(0), pages.at(n), kPageBytes) == 0);
  }
  // Every other one goes; the rest stays as it is while others take the places.
  for (size_t n = 0; n < kCount; n += 2) tier.Free(put[n].slot);
  for (size_t n = 0; n < kCount; n += 2) {
    Write(pages.at(n), n, 1, KindOf(n + 1));
    tier.Put({&put[n], 1});
  }
  for (size_t n = 0; n < kCount; n++) {
    REQUIRE(tier.Get(put[n].slot, back.at(0)).ok());
    CHECK(std::memcmp(back.at(0), pages.at(n), kPageBytes) == 0);
    tier.Free(put[n].slot);
  }
  CHECK_EQ(tier.pages(), 0u);
  CHECK_EQ(tier.used_bytes(), 0u);
}

}  // namespace

FARPAGE_TEST(tier_codec_takes_pages_back_as_they_were) {
  const Pages pages(2);
  std::vector<std::byte> packed(kPageBytes);
  Write(pages.at(0), 1, 0, Kind::kText);
  const uint32_t length =
      CompressPage(pages.at(0), packed.data(), static_cast<uint32_t>(kPageBytes));
  CHECK(length > 0);
  CHECK(length < kPageBytes / 2);
  CHECK(DecompressPage(packed.data(), length, pages.at(1)));
  CHECK(std::memcmp(pages.at(0), pages.at(1), kPageBytes) == 0);
  CHECK(!DecompressPage(packed.data(), length - 1, pages.at(1)));
  Write(pages.at(0), 2, 0, Kind::kNoise);
  CHECK_EQ(CompressPage(pages.at(0), packed.data(), static_cast<uint32_t>(kPageBytes)), 0u);
  std::byte value{};
  CHECK(!IsUniformPage(pages.at(0), &value));
  std::memset(pages.at(0), 0xff, kPageBytes);
  CHECK(IsUniformPage(pages.at(0), &value));
  CHECK_EQ(static_cast<int>(value), 0xff);
  pages.at(0)[kPageBytes - 1] = std::byte{0xfe};
  CHECK(!IsUniformPage(pages.at(0), &value));
}

FARPAGE_TEST(tier_compressed_puts_gets_and_frees) { PutGetFree(*Compressed(64u << 20)); }

FARPAGE_TEST(tier_compressed_keeps_pages_of_one_value_for_nothing) {
  const auto tier = Compressed(1u << 20);
  const Pages page(1);
  for (int n = 0; n < 10'000; n++) {
    TierPage put{page.at(0), 0, {}};
    tier->Put({&put, 1});
    REQUIRE(put.outcome.ok());
  }
  CHECK_EQ(tier->pages(), 10'000u);
  CHECK_EQ(tier->used_bytes(), 0u);
}

FARPAGE_TEST(tier_compressed_is_full_at_its_capacity_and_goes_on_when_there_is_room) {
  const auto tier = Compressed(64 * kPageBytes);
  const Pages page(1);
  std::vector<TierSlot> slots;
  for (uint64_t n = 0;; n++) {
    Write(page.at(0), n, 0, Kind::kNoise);
    TierPage put{page.at(0), 0, {}};
    tier->Put({&put, 1});
    if (!put.outcome.ok()) {
      CHECK_EQ(put.outcome.error().code, Code::kNoSpace);
      break;
    }
    slots.push_back(put.slot);
    REQUIRE(slots.size() <= 64);
  }
  CHECK_EQ(slots.size(), 64u);
  CHECK_EQ(tier->used_bytes(), tier->capacity_bytes());
  // Sixteen raw pages are a chunk, which another class may then have.
  for (size_t n = 0; n < 16; n++) tier->Free(slots[n]);
  Write(page.at(0), 7, 7, Kind::kText);
  TierPage put{page.at(0), 0, {}};
  tier->Put({&put, 1});
  CHECK(put.outcome.ok());
  const Pages back(1);
  CHECK(tier->Get(put.slot, back.at(0)).ok());
  CHECK(Same(back.at(0), 7, 7, Kind::kText));
}

FARPAGE_TEST(tier_spill_puts_gets_and_frees_and_leaves_no_name) {
  const Folder folder;
  auto tier = SpillTier::Open(folder.path, 1u << 20);
  if (!tier.ok() && tier.error().code == Code::kUnsupported) SKIP("no unnamed files here");
  REQUIRE(tier.ok());
  PutGetFree(*tier.value());
  CHECK_EQ(::rmdir(folder.path.c_str()), 0);
}

FARPAGE_TEST(tier_spill_is_full_at_its_capacity) {
  const Folder folder;
  auto opened = SpillTier::Open(folder.path, 100 * kPageBytes);
  if (!opened.ok() && opened.error().code == Code::kUnsupported) SKIP("no unnamed files here");
  REQUIRE(opened.ok());
  Tier& tier = *opened.value();
  const Pages pages(128);
  std::vector<TierPage> put(128);
  for (size_t n = 0; n < put.size(); n++) put[n].bytes = pages.at(n);
  tier.Put(put);
  for (size_t n = 0; n < put.size(); n++) CHECK_EQ(put[n].outcome.ok(), n < 100);
  CHECK_EQ(put[100].outcome.error().code, Code::kNoSpace);
  tier.Free(put[42].slot);
  tier.Put({&put[127], 1});
  CHECK(put[127].outcome.ok());
  CHECK_EQ(put[127].slot, put[42].slot);
  CHECK_EQ(SpillTier::Open("/nonexistent/farpage", 1u << 20).error().code, Code::kFileNotFound);
  CHECK_EQ(SpillTier::Open(folder.path, 1).error().code, Code::kArgument);
}

namespace {

// Two levels: a little compressed memory over a spill file.
struct Stack {
  explicit Stack(uint64_t compressed_pages, uint64_t pages) {
    std::vector<std::unique_ptr<Tier>> tiers;
    tiers.push_back(Compressed(compressed_pages * kPageBytes));
    auto spill = SpillTier::Open(folder.path, uint64_t{64} << 20);
    if (spill.ok()) tiers.push_back(std::move(spill).value());
    both = tiers.size() == 2;
    stack = std::make_unique<TierStack>(std::move(tiers));
    auto attached = stack->Attach(pages);
    CHECK(attached.ok());
    region = std::move(attached).value();
  }
  Status StoreOne(PageIndex page, uint64_t version) {
    Write(memory.at(0), page, version, KindOf(page));
    OverlayPage one{page, memory.at(0), {}};
    region->Store({&one, 1});
    return one.outcome;
  }
  Folder folder;
  bool both = false;
  std::unique_ptr<TierStack> stack;
  std::shared_ptr<RegionTiers> region;
  Pages memory{1};
};

}  // namespace

FARPAGE_TEST(tier_stack_moves_the_oldest_pages_down_and_gives_all_of_them_back) {
  constexpr uint64_t kCount = 1000;
  Stack test(160, kCount);
  if (!test.both) SKIP("no unnamed files here");
  for (PageIndex page = 0; page < kCount; page++) CHECK(test.StoreOne(page, 0).ok());
  CHECK_EQ(test.region->pages(), kCount);
  const uint64_t deadline = NowNs() + 10'000'000'000;
  const Tier& first = test.stack->tier(0);
  while (first.used_bytes() > first.capacity_bytes() / 16 * kTierHighMark && NowNs() < deadline) {
    ::usleep(1000);
  }
  test.stack->Close();  // nothing moves from here on
  CHECK(first.used_bytes() <= first.capacity_bytes() / 16 * kTierHighMark);
  CHECK(test.stack->stats(0).demoted_pages > 0);
  CHECK_EQ(test.region->TierOf(1), 1u);  // text of the beginning
  const Pages back(1);
  for (PageIndex page = 0; page < kCount; page++) {
    const Status loaded = test.region->Load(page, back.at(0));
    REQUIRE(loaded.ok());
    CHECK(Same(back.at(0), page, 0, KindOf(page)));
    const size_t tier = test.region->TierOf(page);
    const Status in_place = test.region->TakeInPlace(page, back.at(0));
    CHECK_EQ(in_place.ok(), tier == 0);
    if (!in_place.ok()) CHECK(test.region->Take(page, back.at(0)).ok());
    CHECK(Same(back.at(0), page, 0, KindOf(page)));
  }
  CHECK_EQ(test.region->pages(), 0u);
  CHECK_EQ(first.pages() + test.stack->tier(1).pages(), 0u);
  CHECK_EQ(test.region->Take(3, back.at(0)).error().code, Code::kPageLost);
}

FARPAGE_TEST(tier_stack_frees_what_a_removed_region_had) {
  Stack test(160, 5000);
  for (PageIndex page = 0; page < 5000; page += 7) (void)test.StoreOne(page, 3);
  test.region.reset();
  uint64_t left = 0;
  const uint64_t deadline = NowNs() + 10'000'000'000;
  do {  // the tier's thread may hold the region for one more batch
    left = 0;
    for (size_t n = 0; n < test.stack->size(); n++) left += test.stack->tier(n).pages();
  } while (left != 0 && NowNs() < deadline);
  CHECK_EQ(left, 0u);
}

namespace {

// Gives back other bytes than it took.
class LyingTier final : public Tier {
 public:
  void Put(std::span<TierPage> pages) override {
    for (TierPage& page : pages) page.slot = 1;
    pages_ += pages.size();
  }
  Status Get(TierSlot, std::byte* into) override {
    std::memset(into, 0x5a, kPageBytes);
    return {};
  }
  void Free(TierSlot) override { pages_--; }
  [[nodiscard]] bool gets_in_place() const override { return true; }
  [[nodiscard]] const char* kind() const override { return "lying"; }
  [[nodiscard]] uint64_t capacity_bytes() const override { return 1u << 30; }
  [[nodiscard]] uint64_t used_bytes() const override { return 0; }
};

}  // namespace

FARPAGE_TEST(tier_stack_finds_bytes_that_are_not_what_was_put_in) {
  std::vector<std::unique_ptr<Tier>> tiers;
  tiers.push_back(std::make_unique<LyingTier>());
  TierStack stack(std::move(tiers));
  auto region = stack.Attach(10);
  REQUIRE(region.ok());
  const Pages page(2);
  Write(page.at(0), 5, 0, Kind::kText);
  OverlayPage one{5, page.at(0), {}};
  region.value()->Store({&one, 1});
  CHECK(one.outcome.ok());
  CHECK_EQ(region.value()->Load(5, page.at(1)).error().code, Code::kPageLost);
  CHECK_EQ(region.value()->TakeInPlace(5, page.at(1)).error().code, Code::kPageLost);
  CHECK_EQ(stack.stats(0).lost_pages, 2u);
  CHECK_EQ(region.value()->pages(), 1u);
}

// Several threads, each with pages of its own, while the stack's thread moves them down.
FARPAGE_TEST(tier_stack_keeps_every_page_right_while_all_of_them_move) {
  constexpr uint64_t kEach = 300;
  constexpr uint64_t kThreads = 3;
  Stack test(160, kEach * kThreads);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; t++) {
    threads.emplace_back([&test, t] {
      std::mt19937_64 random(t);
      std::map<PageIndex, uint64_t> stored;
      const Pages memory(2);
      for (uint64_t step = 1; step < 6000; step++) {
        const PageIndex page = t * kEach + random() % kEach;
        const auto found = stored.find(page);
        if (found == stored.end()) {
          Write(memory.at(0), page, step, KindOf(step));
          OverlayPage one{page, memory.at(0), {}};
          test.region->Store({&one, 1});
          if (one.outcome.ok()) stored[page] = step;
          continue;
        }
        const uint64_t version = found->second;
        Status got = random() % 4 == 0 ? test.region->Load(page, memory.at(1))
                                       : test.region->TakeInPlace(page, memory.at(1));
        if (!got.ok()) got = test.region->Take(page, memory.at(1));
        if (!got.ok() || !Same(memory.at(1), page, version, KindOf(version))) {
          Fail(__FILE__, __LINE__, "another page came back");
          return;
        }
        test.region->Forget(page);
        stored.erase(page);
      }
      for (const auto& [page, version] : stored) {
        CHECK(test.region->Take(page, memory.at(1)).ok());
        CHECK(Same(memory.at(1), page, version, KindOf(version)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(test.region->pages(), 0u);
}

}  // namespace farpage::test
