// A process that is killed at its n-th system call on a store's or a memory directory's files, or
// at any moment, and the next process that looks at what it left.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "killed_child.h"
#include "region_life.h"

namespace farpage::test {
namespace {

// A life takes about as long, its process's start included.
constexpr uint64_t kLifeUs = 60'000;

struct Victim {
  LifeOptions options;
  uint64_t nth = 0;  // 0: at any moment
  uint64_t seed = 0;
};

// The life that ends: writes, syncs, evictions and a restart, in an order of the seed's.
void Live(const Victim& victim, Intentions* told) {
  const CallFault fault(victim.options.folder, kCallsThatWrite, victim.nth, kKillInstead);
  RegionLife life(victim.options, told);
  std::mt19937_64 random(victim.seed);
  for (int process = 0; process < 2; process++) {
    if (life.Start() != Code::kOk) std::abort();
    for (int n = 0; n < 40; n++) {
      const PageIndex page = random() % kLifePages;
      const uint64_t what = random() % 8;
      const Code code = what < 5    ? life.Put(page)
                        : what == 5 ? life.Get(page)
                                    : life.Sync(what == 7);
      if (code != Code::kOk) std::abort();
    }
    if (life.Sync() != Code::kOk) std::abort();
    life.Stop();
  }
}

// In the process that is killed: true once it has lived.
bool LiveAsChild() {
  const char* text = ToldByParent();
  if (text == nullptr) return false;
  Victim victim;
  std::array<char, 256> folder{};
  int store = 0;
  int memory = 0;
  unsigned long long nth = 0;
  unsigned long long seed = 0;
  const int found =
      std::sscanf(text, "%d %d %llu %llu %255s", &store, &memory, &nth, &seed, folder.data());
  if (found != 5) std::abort();
  victim.options = {static_cast<LifeStore>(store), memory != 0, folder.data()};
  victim.nth = nth;
  victim.seed = seed;
  Live(victim, ShareFile<Intentions>(victim.options.folder + "intentions"));
  return true;
}

std::string TextOf(const Victim& victim) {
  return std::to_string(static_cast<int>(victim.options.store)) + " " +
         std::to_string(static_cast<int>(victim.options.memory_directory)) + " " +
         std::to_string(victim.nth) + " " + std::to_string(victim.seed) + " " +
         victim.options.folder;
}

// Kills once; false: the life does not get that far.
bool KillAndLook(const char* test, LifeOptions options, uint64_t nth, uint64_t seed) {
  const TemporaryFolder folder;
  options.folder = folder.File("");
  if (options.store == LifeStore::kFile) MakeLifeFile(options.folder);
  auto* told = ShareFile<Intentions>(options.folder + "intentions");
  const uint64_t end_us = nth == 0 ? 1 + seed % kLifeUs : 0;
  const bool killed = IsKilled(test, TextOf({options, nth, seed}), options.folder, end_us);
  RegionLife life(options, told);
  CHECK_EQ(int(life.Start()), int(Code::kOk));
  life.CheckFound();
  for (PageIndex page = 0; page < 4; page++) CHECK_EQ(int(life.Put(page)), int(Code::kOk));
  CHECK_EQ(int(life.Sync()), int(Code::kOk));
  life.Stop();
  CHECK_EQ(int(life.Start()), int(Code::kOk));
  life.CheckFound();
  life.Stop();
  ::munmap(told, sizeof(Intentions));
  return killed;
}

// A few kills in the normal run, FARPAGE_KILLS of them in a long one, of lives of random seeds:
// half of them at a random call, half at any moment.
void KillEach(const char* test, const LifeOptions& options) {
  if (LiveAsChild()) return;
  const uint64_t kills = FromEnvironment("FARPAGE_KILLS", 6);
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", NowNs());
  std::mt19937_64 random(seed);
  uint64_t killed = 0;
  uint64_t reach = 30;  // calls that a life makes, as far as that is known
  for (uint64_t n = 0; n < kills; n++) {
    const uint64_t nth = n % 2 == 0 ? 1 + random() % reach : 0;
    if (!KillAndLook(test, options, nth, random())) continue;
    killed++;
    if (nth + 10 > reach) reach = nth + 10;
  }
  std::printf("%s: seed %llu, %llu of %llu lives were killed\n", test,
              static_cast<unsigned long long>(seed), static_cast<unsigned long long>(killed),
              static_cast<unsigned long long>(kills));
  CHECK(killed > 0);
}

}  // namespace

FARPAGE_TEST(killed_in_the_life_of_a_kept_file) {
  KillEach("killed_in_the_life_of_a_kept_file", {LifeStore::kKeptOne, false, {}});
}
FARPAGE_TEST(killed_in_the_life_of_a_kept_file_with_a_memory_directory) {
  KillEach("killed_in_the_life_of_a_kept_file_with_a_memory_directory",
           {LifeStore::kKeptZero, true, {}});
}
FARPAGE_TEST(killed_in_the_life_of_a_staged_file_with_a_memory_directory) {
  KillEach("killed_in_the_life_of_a_staged_file_with_a_memory_directory",
           {LifeStore::kFile, true, {}});
}

}  // namespace farpage::test
