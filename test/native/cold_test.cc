// Ages of pages: what nobody used for some time goes down, and nothing else does.
#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 40;
// Moved by the tests alone.
constexpr uint64_t kHourNs = 3'600'000'000'000;

ApplianceOptions Options() {
  ApplianceOptions options;
  options.use_tick_ns = kHourNs;
  return options;
}

Code Touch(Initiator& initiator, uint32_t stag, PageIndex page) {
  std::byte one;
  return Read(initiator, stag, page << kPageShift, &one, 1).code;
}

Code Put(Initiator& initiator, uint32_t stag, PageIndex page, uint64_t value) {
  return Write(initiator, stag, page << kPageShift, &value, sizeof value).code;
}

uint32_t AgeOf(Appliance& appliance, PageIndex page, const UseClock& now) {
  return AgeTicks(appliance.region->table->Load(page), now.Now());
}

bool IsPresent(Appliance& appliance, PageIndex page) {
  return StateOf(appliance.region->table->Load(page)) == PageState::kPresent;
}

}  // namespace

FARPAGE_TEST(cold_ages_are_told_of_words_and_the_clock) {
  UseClock clock;
  const PageWord used = clock.Now();
  CHECK_EQ(AgeTicks(used, clock.Now()), 0u);
  uint32_t sweeps = 0;
  for (uint32_t tick = 1; tick <= kUseTicks; tick++) {
    sweeps += clock.Advance() ? 1 : 0;
    // The last ones may be words that are newer than what the clock was seen to say.
    const bool known = tick < kUseTicks - kAgeLookTicksMax;
    CHECK_EQ(AgeTicks(used | 0xfffff, clock.Now()), known ? tick : 0);
  }
  CHECK_EQ(sweeps, kUseTicks / kAgeSweepTicks);
  CHECK_EQ(clock.Now(), used);
  CHECK_EQ(ColdTicks(1, 30), 2u);
  CHECK_EQ(ColdTicks(30, 30), 2u);
  CHECK_EQ(ColdTicks(31, 30), 3u);
}

FARPAGE_TEST(cold_pages_go_down_and_those_in_use_stay) {
  Appliance appliance(Options());
  appliance.UseTiers(64, 64);
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  for (PageIndex page = 0; page < kPages / 2; page++) {
    REQUIRE(Put(*initiator, stag, page, page + 1) == Code::kOk);
    REQUIRE(Touch(*initiator, stag, kPages / 2 + page) == Code::kOk);
  }
  // Used again and again, long ago: that is forgotten.
  for (int n = 0; n < 8; n++) REQUIRE(Touch(*initiator, stag, 1) == Code::kOk);
  for (int n = 0; n < 4; n++) appliance.pager.TickUses();
  REQUIRE(Touch(*initiator, stag, 3) == Code::kOk);
  REQUIRE(Put(*initiator, stag, 5, 6) == Code::kOk);
  REQUIRE(Touch(*initiator, stag, kPages - 2) == Code::kOk);
  uint64_t before = 0;
  WorkRequest atomic;
  atomic.opcode = Opcode::kFetchAdd;
  atomic.stag = stag;
  atomic.remote_offset = 7 << kPageShift;
  atomic.length_bytes = sizeof before;
  atomic.local = reinterpret_cast<std::byte*>(&before);
  REQUIRE(Do(*initiator, atomic).code == Code::kOk);
  // Used in the tick before: that may be a moment ago.
  appliance.pager.TickUses();
  const EvictionResult none =
      appliance.pager.Demote(appliance.region, {0, kPages}, 5 * kHourNs);
  CHECK_EQ(none.evicted_pages, 0u);
  const EvictionResult gone =
      appliance.pager.Demote(appliance.region, {0, kPages}, 4 * kHourNs);
  CHECK_EQ(gone.evicted_pages, kPages - 4);
  CHECK_EQ(gone.spilled_pages, kPages / 2 - 3);
  for (PageIndex page = 0; page < kPages; page++) {
    const bool used = page == 3 || page == 5 || page == 7 || page == kPages - 2;
    CHECK_EQ(IsPresent(appliance, page), used);
  }
  for (PageIndex page = 0; page < kPages / 2; page++) {
    uint64_t found = 0;
    REQUIRE(Read(*initiator, stag, page << kPageShift, &found, sizeof found).code == Code::kOk);
    CHECK_EQ(found, page + 1);
  }
  // What came back was used just now.
  CHECK_EQ(appliance.pager.Demote(appliance.region, {0, kPages}, kHourNs).evicted_pages, 0u);
  CHECK(appliance.pager.Demote(appliance.region, {0, kPages}).evicted_pages != 0);
}

FARPAGE_TEST(cold_dirty_pages_without_a_tier_stay) {
  Appliance appliance(Options());
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  REQUIRE(Put(*initiator, stag, 0, 1) == Code::kOk);
  REQUIRE(Touch(*initiator, stag, 1) == Code::kOk);
  // Initialised behind its answer, and so perhaps in a later tick.
  appliance.pager.AwaitLent(*appliance.region);
  for (int n = 0; n < 3; n++) appliance.pager.TickUses();
  const EvictionResult gone = appliance.pager.Demote(appliance.region, {0, kPages}, kHourNs);
  CHECK_EQ(gone.evicted_pages, 1u);
  CHECK_EQ(gone.dirty_pages, 1u);
  CHECK(IsPresent(appliance, 0));
}

FARPAGE_TEST(cold_pages_do_not_become_young_again_when_words_have_no_more_room) {
  Appliance appliance(Options());
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  REQUIRE(Touch(*initiator, stag, 0) == Code::kOk);
  REQUIRE(Touch(*initiator, stag, 1) == Code::kOk);
  UseClock same;  // as the pager's: ticks when it does
  for (uint32_t tick = 0; tick < 2 * kUseTicks; tick++) {
    appliance.pager.TickUses();
    same.Advance();
    if (tick % 100 == 0) REQUIRE(Touch(*initiator, stag, 1) == Code::kOk);
    if (tick >= kAgeTicksMax) CHECK(AgeOf(appliance, 0, same) >= kAgeTicksMax);
    CHECK(AgeOf(appliance, 1, same) <= 100);
  }
  const uint64_t longest = appliance.pager.AgeMaxNs();
  CHECK_EQ(appliance.pager.Demote(appliance.region, {0, kPages}, longest).evicted_pages, 1u);
  CHECK(IsPresent(appliance, 1));
}

FARPAGE_TEST(cold_a_page_in_use_changes_its_word_once_in_a_tick) {
  Appliance appliance(Options());
  const uint32_t stag =
      appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  PageTable& table = *appliance.region->table;
  for (int n = 0; n < 6; n++) REQUIRE(Touch(*initiator, stag, 0) == Code::kOk);
  const PageWord often = table.Load(0);
  CHECK((often & kUses) == kUses);
  appliance.pager.TickUses();
  CHECK_EQ(table.Load(0), often);  // no sweep touches it
  REQUIRE(Touch(*initiator, stag, 0) == Code::kOk);
  CHECK_EQ(table.Load(0), often + (1u << kUsedShift));
  REQUIRE(Touch(*initiator, stag, 0) == Code::kOk);
  CHECK_EQ(table.Load(0), often + (1u << kUsedShift));
}

FARPAGE_TEST(cold_ages_of_pages_that_are_there_already_start_anew) {
  auto made = PageTable::Create(3000);
  REQUIRE(made.ok());
  PageTable& table = *made.value();
  for (const PageIndex page : {0u, 1500u, 2999u}) {
    PageWord word = 0;
    REQUIRE(table.Change(page, word, static_cast<PageWord>(PageState::kFilling)));
    word = table.Load(page);
    REQUIRE(table.Change(page, word, static_cast<PageWord>(PageState::kPresent) | kReadable));
  }
  UseClock clock;
  for (int n = 0; n < 7; n++) clock.Advance();
  table.Follow(&clock);
  for (const PageIndex page : {0u, 1500u, 2999u}) {
    CHECK_EQ(AgeTicks(table.Load(page), clock.Now()), 0u);
  }
  CHECK_EQ(table.Load(1), 0u);
}

}  // namespace farpage::test
