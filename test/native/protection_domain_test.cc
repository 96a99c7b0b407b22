// STags: what is found, what is refused, and what readers without a lock see of a change.
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "fabric/protection_domain.h"
#include "faulty_store.h"

namespace farpage::test {
namespace {

std::shared_ptr<Region> MakeRegion(uint64_t size_bytes, bool writable) {
  static FaultPlan none;
  Region::Options options;
  options.size_bytes = size_bytes;
  options.writable = writable;
  return MakeFaultyRegion(options, &none).region;
}

}  // namespace

FARPAGE_TEST(protection_domain_registers_within_bounds_and_rights) {
  Shootdown shootdown;
  ProtectionDomain domain(shootdown, 4);
  const auto region = MakeRegion(10'000, true);
  const auto read_only = MakeRegion(10'000, false);
  CHECK(domain.Register(region, 0, 10'000, true).ok());
  CHECK(domain.Register(region, 10'000, 0, true).ok());
  CHECK_EQ(int(domain.Register(region, 1, 10'000, true).error().code), int(Code::kBounds));
  CHECK_EQ(int(domain.Register(region, 10'001, 0, true).error().code), int(Code::kBounds));
  CHECK_EQ(int(domain.Register(region, ~uint64_t{0}, 2, true).error().code), int(Code::kBounds));
  CHECK_EQ(int(domain.Register(read_only, 0, 8, true).error().code), int(Code::kAccess));
  CHECK(domain.Register(read_only, 0, 8, false).ok());
}

FARPAGE_TEST(protection_domain_finds_forgets_and_remembers_removal) {
  Shootdown shootdown;
  ProtectionDomain domain(shootdown, 4);
  const auto region = MakeRegion(1 << 20, true);
  const auto other = MakeRegion(1 << 20, true);
  CHECK(domain.Find(1) == nullptr);
  std::vector<uint32_t> stags;
  for (uint64_t n = 0; n < 300; n++) {
    auto stag = domain.Register(n % 2 == 0 ? region : other, n * 8, 64, n % 3 == 0);
    REQUIRE(stag.ok());
    CHECK(stag.value() != 0);
    stags.push_back(stag.value());
  }
  for (uint64_t n = 0; n < 300; n++) {
    const MemoryRegion* found = domain.Find(stags[n]);
    REQUIRE(found != nullptr);
    CHECK_EQ(found->region_offset, n * 8);
    CHECK_EQ(found->writable, n % 3 == 0);
  }
  domain.Deregister(stags[0], false);
  CHECK(domain.Find(stags[0]) == nullptr);
  domain.Deregister(stags[2], true);
  CHECK(domain.Find(stags[2]) != nullptr && domain.Find(stags[2])->region == nullptr);
  domain.Deregister(12345, true);  // nobody's
  domain.DeregisterAll(other.get());
  for (uint64_t n = 3; n < 300; n++) {
    const MemoryRegion* found = domain.Find(stags[n]);
    REQUIRE(found != nullptr);
    CHECK_EQ(found->region == nullptr, n % 2 == 1);
  }
  domain.DeregisterAll(nullptr);
  for (uint64_t n = 3; n < 300; n++) CHECK(domain.Find(stags[n])->region == nullptr);
  CHECK_EQ(region.use_count(), 1);
}

FARPAGE_TEST(protection_domain_quota_forgets_removed_ones_first) {
  Shootdown shootdown;
  ProtectionDomain domain(shootdown, 4);
  const auto region = MakeRegion(4096, true);
  std::vector<uint32_t> stags;
  for (size_t n = 0; n < kMemoryRegionsMax; n++) {
    stags.push_back(domain.Register(region, 0, 64, true).value());
  }
  CHECK_EQ(int(domain.Register(region, 0, 64, true).error().code), int(Code::kQuota));
  domain.Deregister(stags[9], true);
  CHECK(domain.Register(region, 0, 64, true).ok());
  CHECK(domain.Find(stags[9]) == nullptr);
}

FARPAGE_TEST(protection_domain_counts_connections) {
  Shootdown shootdown;
  ProtectionDomain domain(shootdown, 2);
  CHECK(domain.Enter().ok());
  CHECK(domain.Enter().ok());
  CHECK_EQ(int(domain.Enter().error().code), int(Code::kQuota));
  domain.Leave();
  CHECK(domain.Enter().ok());
  domain.Close();
  domain.Leave();
  CHECK_EQ(int(domain.Enter().error().code), int(Code::kTicket));
  CHECK_EQ(domain.connections(), 1u);
}

// Readers look STags up in turns while others come and go: one that stays is always found, one
// that is gone is not found after Deregister has returned, and no table is read after its end.
FARPAGE_TEST(protection_domain_lookups_survive_changes) {
  Shootdown shootdown;
  ProtectionDomain domain(shootdown, 2);
  const auto region = MakeRegion(1 << 20, true);
  const uint32_t stays = domain.Register(region, 512, 64, true).value();
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> gone{0};
  std::atomic<uint64_t> broken{0};
  std::atomic<uint64_t> looks{0};
  std::vector<std::thread> readers;
  for (int n = 0; n < 2; n++) {
    readers.emplace_back([&] {
      TurnCounter* counter = shootdown.Register();
      while (!stop.load(std::memory_order_relaxed)) {
        // Read before the turn begins: what is gone by then stays gone.
        const uint32_t dead = gone.load(std::memory_order_acquire);
        Turn turn(counter);
        const MemoryRegion* found = domain.Find(stays);
        if (found == nullptr || found->region == nullptr || found->region_offset != 512) broken++;
        if (dead != 0 && domain.Find(dead) != nullptr) broken++;
        looks.fetch_add(1, std::memory_order_relaxed);
      }
      shootdown.Unregister(counter);
    });
  }
  const uint64_t end = NowNs() + 300'000'000;
  while (NowNs() < end) {
    const uint32_t stag = domain.Register(region, 0, 8, false).value();
    domain.Deregister(stag, false);
    gone.store(stag, std::memory_order_release);
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  CHECK_EQ(broken.load(), 0u);
  CHECK(looks.load() > 0);
}

}  // namespace farpage::test
