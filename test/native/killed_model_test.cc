// A random mix by several clients on regions of fifty times the memory, with everything that moves
// pages between memory, tiers and files, in processes that are killed at any moment. The next one
// finds what had been synced, or what was written after it, and never a byte that nobody wrote;
// then it goes on from there.
// FARPAGE_KILLS makes it longer, FARPAGE_SEED repeats a run.
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "killed_child.h"
#include "killed_process.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

// Batches of all clients in a life that nobody ends, and in one that is to be killed before.
constexpr uint64_t kSteps = 150;
constexpr uint64_t kLongSteps = 450;
// Calls that change files in one life, as far as one is killed at such.
constexpr uint64_t kCallsMax = 1500;

// In the process that is killed: true once it has lived.
bool LiveAsChild() {
  const char* text = ToldByParent();
  if (text == nullptr) return false;
  const KilledLife life = KilledLife::From(text);
  auto* record = ShareFile<KilledRecord>(life.folder + "record");
  const CallFault fault(life.folder, kCallsThatWrite | kCallRing, life.nth, kKillInstead);
  KilledProcess process(life, record);
  process.CheckFound();
  process.Mix();
  Must(record->tiers.load() == (life.all_tiers ? 7u : 1u), "every tier took pages");
  return true;
}

void MakeFiles(const std::string& folder) {
  for (uint32_t region = 0; region + 1 < kKilledRegions; region++) {
    std::ofstream out(KilledPath(folder, region), std::ios::binary);
    for (uint64_t cell = 0; cell < kCells; cell++) {
      const CellBytes bytes = CellOf(region, cell, 0);
      out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(kCellBytes));
    }
  }
}

// What the last process left, without any code of ours in between.
void CheckFiles(const std::string& folder, KilledRecord* record) {
  for (uint32_t region = 0; region + 1 < kKilledRegions; region++) {
    std::ifstream in(KilledPath(folder, region), std::ios::binary);
    uint64_t wrong = 0;
    for (uint64_t cell = 0; cell < kCells; cell++) {
      CellBytes found{};
      in.read(reinterpret_cast<char*>(found.data()), std::streamsize(kCellBytes));
      const uint32_t written = record->cells[region][cell].written();
      if (written != CellRecord::kUnknown && found != CellOf(region, cell, written)) wrong++;
    }
    CHECK_EQ(wrong, 0u);
  }
}

void KillLives(const char* test, bool all_tiers) {
  if (LiveAsChild()) return;
  const uint64_t kills = FromEnvironment("FARPAGE_KILLS", 5);
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", NowNs());
  std::printf("FARPAGE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  Random random(seed);
  const TemporaryFolder folder;
  KilledLife life{all_tiers, 0, 0, 0, kLongSteps, folder.File(""), {}};
  MakeFiles(life.folder);
  auto* record = ShareFile<KilledRecord>(life.folder + "record");
  std::unique_ptr<Pool> pool;
  if (all_tiers) pool = std::make_unique<Pool>(kKilledRegions * KilledPages());
  uint64_t killed = 0;
  for (uint64_t n = 0; n <= kills; n++) {
    if (pool != nullptr) {
      pool->GoAway();  // what the dead one sent changes nothing from here on
      pool->Return();
      life.pool_stag = pool->Door(true).remote.stag;
      life.pool_socket = pool->appliance.socket_path;
    }
    life.seed = random();
    life.nth = 0;
    record->steps.store(0);
    record->tiers.store(0);
    if (n == kills) {
      life.steps = kSteps;
      CHECK(!IsKilled(test, life.Text(), life.folder, 0));
      break;
    }
    // One in four at a call, one as it starts or looks around, the others in the mix.
    const uint64_t moment = n % 4;
    if (moment == 2) life.nth = 1 + Below(random, kCallsMax);
    const uint64_t steps = moment == 3 ? 0 : 1 + Below(random, kLongSteps - kSteps);
    const uint64_t begin = NowNs();
    const uint64_t rest_ns = Below(random, moment == 3 ? 100'000'000 : 3'000'000);
    uint64_t reached_ns = moment == 3 ? begin : 0;
    killed += IsKilledAt(test, life.Text(), life.folder, [&] {
      if (moment == 2) return false;
      if (reached_ns == 0 && record->steps.load() >= steps) reached_ns = NowNs();
      return reached_ns != 0 && NowNs() - reached_ns >= rest_ns;
    });
  }
  std::printf("%llu of %llu lives were killed, %llu cells found, %llu syncs\n",
              static_cast<unsigned long long>(killed), static_cast<unsigned long long>(kills),
              static_cast<unsigned long long>(record->checked.load()),
              static_cast<unsigned long long>(record->syncs.load()));
  CHECK(kills == 0 || killed > 0);
  CheckFiles(life.folder, record);
  ::munmap(record, sizeof(KilledRecord));
}

}  // namespace

FARPAGE_TEST(killed_model_with_all_tiers) { KillLives("killed_model_with_all_tiers", true); }

FARPAGE_TEST(killed_model_with_the_default_spill_file) {
  KillLives("killed_model_with_the_default_spill_file", false);
}

}  // namespace farpage::test
