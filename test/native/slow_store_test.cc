// A store that lets its own region wait must not let others wait.
#include "slow_fixture.h"

namespace farpage::test {

FARPAGE_TEST(slow_store_of_one_region_delays_no_write_back_of_another) {
  Neighbours house(64);
  auto& slow = house.AddSlow(16);
  auto& other = house.Add(256, true);
  house.Put(slow, 0, 8, 0x51);
  Asked held(house.appliance, slow.region);
  REQUIRE(house.gate.AwaitHeld(1));
  // Clean pages of another region are evicted.
  house.Get(other, 0, 4);
  CHECK(house.appliance.pager.Reclaim(other.region, {0, 4}) == 4);
  // It is synced.
  house.Put(other, 0, 4, 0x52);
  Asked synced(house.appliance, other.region);
  REQUIRE(synced.Await());
  CHECK_EQ(int(synced.code.load()), 0);
  CHECK(Has(*other.store, 0, 4, 0x52));
  // Its writers go on where memory is short, because what they wrote is written behind.
  house.Put(other, 0, 256, 0x53);
  CHECK(!held.ended);
  house.gate.Open();
  REQUIRE(held.Await());
  CHECK_EQ(int(held.code.load()), 0);
  CHECK(Has(*slow.store, 0, 8, 0x51));
}

FARPAGE_TEST(slow_store_that_is_written_behind_delays_no_other_writer) {
  Neighbours house(64);
  auto& slow = house.AddSlow(64, true);
  auto& other = house.Add(256, true);
  house.Put(slow, 0, 16, 0x61);
  // The reclaim thread is asked to write behind, and meets the slow region first.
  house.Put(other, 0, 128, 0x62);
  REQUIRE(house.gate.AwaitHeld(1));
  house.Put(other, 128, 128, 0x63);
  CHECK(slow.region->written_behind.load());
  house.gate.Open();
  const uint64_t deadline = NowNs() + kPatienceNs;
  while (slow.region->written_behind.load() && NowNs() < deadline) Nap(1);
  CHECK(Has(*slow.store, 0, 16, 0x61));
}

FARPAGE_TEST(slow_stores_have_a_lane_each_and_syncs_of_one_follow_one_another) {
  Neighbours house(1024);
  auto& slow = house.AddSlow(16);
  house.Put(slow, 0, 1, 0x71);
  Asked first(house.appliance, slow.region);
  REQUIRE(house.gate.AwaitHeld(1));
  Asked second(house.appliance, slow.region);
  Asked third(house.appliance, slow.region);
  for (int n = 0; n < 3; n++) {
    auto& swift = house.Add(16);
    swift.store->elsewhere = true;
    house.Put(swift, 0, 1, 0x72);
    Asked passing(house.appliance, swift.region);
    REQUIRE(passing.Await());
    CHECK(Has(*swift.store, 0, 1, 0x72));
  }
  CHECK(!first.ended);
  CHECK(!second.ended);
  CHECK(!third.ended);
  house.gate.Open();
  CHECK(first.Await());
  CHECK(second.Await());
  CHECK(third.Await());
  CHECK_EQ(slow.store->syncs(), 1u);
}

// Three are stuck, each with a thread of its own, and the next write-back goes on.
FARPAGE_TEST(hung_devices_delay_no_sync_of_another_region) {
  std::vector<std::unique_ptr<Asked>> held;  // told until the house is gone
  Neighbours house(1024);
  auto& other = house.Add(16);
  for (int n = 1; n <= 3; n++) {
    auto& hung = house.AddHung(16);
    house.Put(hung, 0, 4, 0x91);
    for (int again = 0; again < 2; again++) {
      held.push_back(std::make_unique<Asked>(house.appliance, hung.region));
    }
    REQUIRE(house.gate.AwaitHeld(n));
  }
  for (uint8_t value = 1; value <= 5; value++) {
    house.Put(other, 0, 4, value);
    Asked synced(house.appliance, other.region);
    REQUIRE(synced.Await());
    CHECK(Has(*other.store, 0, 4, value));
  }
  for (const auto& each : held) CHECK(!each->ended);
  house.gate.Open();
  for (const auto& each : held) {
    CHECK(each->Await());
    CHECK_EQ(int(each->code.load()), 0);
  }
  // The second sync of each found nothing.
  for (size_t n = 1; n <= 3; n++) CHECK_EQ(house.regions[n]->store->syncs(), 1u);
}

FARPAGE_TEST(hung_device_that_is_written_behind_delays_no_other_writer) {
  Neighbours house(64);
  auto& hung = house.AddHung(64, true);
  auto& other = house.Add(256, true);
  house.Put(hung, 0, 16, 0x92);
  house.Put(other, 0, 128, 0x93);
  REQUIRE(house.gate.AwaitHeld(1));
  house.Put(other, 128, 128, 0x94);
  CHECK(hung.region->written_behind.load());
  house.gate.Open();
  const uint64_t deadline = NowNs() + kPatienceNs;
  while (hung.region->written_behind.load() && NowNs() < deadline) Nap(1);
  CHECK(Has(*hung.store, 0, 16, 0x92));
}

// Pages that a flush has written wait for an fdatasync that does not end; others go into a tier.
FARPAGE_TEST(hung_fdatasync_delays_no_spill_of_another_region) {
  Neighbours house(64);
  auto& hung = house.AddHung(16);
  hung.store->SetOnWrite({});
  hung.store->SetOnSync([&house] { house.gate.Pass(); });
  house.Put(hung, 0, 16, 0x95);
  CHECK(house.appliance.pager.write_back().Run(hung.region, {0, 16}, false).ok());
  house.appliance.UseTiers(1024, 1024);
  auto& other = house.Add(256);
  house.Put(other, 0, 64, 0x96);
  house.appliance.pager.write_back().Behind(hung.region);
  REQUIRE(house.gate.AwaitHeld(1));
  house.Put(other, 64, 192, 0x97);
  CHECK(hung.region->written_behind.load());
  house.gate.Open();
  const uint64_t deadline = NowNs() + kPatienceNs;
  while (hung.region->table->dirty() != 0 && NowNs() < deadline) Nap(1);
  CHECK(Has(*hung.store, 0, 16, 0x95));
}

}  // namespace farpage::test
