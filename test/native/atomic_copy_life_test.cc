// A copy that is synced atomically while a pull brings it: killed at each call on its files and
// each step of a ring, its power lost after each, each call failing in turn. Whoever comes next
// finds one sync or the next, and the source's page wherever none has written.
// FARPAGE_KILLS makes it longer, FARPAGE_SEED repeats a run.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>

#include "copy_life.h"
#include "killed_child.h"
#include "power_loss.h"
#include "quiet.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

constexpr uint64_t kSyncs = 3;  // of one life
// Calls and steps of one life, as far as that is not known yet.
constexpr uint64_t kReach = 60;
// Of these fdatasync, at least.
constexpr uint64_t kSyncCalls = 12;

// Some pages are here before the pull comes to them; syncs go on beside it.
void Live(CopyLife& life) {
  CHECK_EQ(int(life.Start()), int(Code::kOk));
  for (PageIndex page = 0; page < kCopyPages; page += 9) {
    CopyPage bytes = CopyPageOf(0);
    CHECK_EQ(int(life.Get(page, &bytes)), int(Code::kOk));
  }
  CHECK_EQ(int(life.Put()), int(Code::kOk));
  life.BeginPull();
  for (uint64_t n = 0; n < kSyncs; n++) {
    if (n != 0) CHECK_EQ(int(life.Put()), int(Code::kOk));
    CHECK_EQ(int(life.Sync()), int(Code::kOk));
  }
  CHECK_EQ(int(life.AwaitPull()), int(Code::kOk));
}

// In the process that is killed: true once it has lived.
bool LiveAsChild() {
  const char* text = ToldByParent();
  if (text == nullptr) return false;
  unsigned long long nth = 0;
  std::array<char, 256> folder{};
  if (std::sscanf(text, "%llu %255s", &nth, folder.data()) != 2) std::abort();
  const std::string path = folder.data();
  auto* told = ShareFile<CopyTold>(path + "told");
  const CallFault fault(path, kCallsThatWrite | kCallRing, nth, kKillInstead);
  CopyLife life(path, told);
  Live(life);
  std::printf("%llu calls\n", static_cast<unsigned long long>(fault.calls()));
  return true;
}

// Everything is in the file, and is what was synced: the source may go.
void PullAll(CopyLife& life) {
  life.BeginPull();
  CHECK_EQ(int(life.AwaitPull()), int(Code::kOk));
  CHECK_EQ(life.needed_pages(), 0u);
  CHECK_EQ(life.region().table->dirty(), 0u);
  CheckQuiet(life.appliance());
  life.region().store->DetachSource();
  life.CheckFound();
}

}  // namespace

FARPAGE_TEST(atomic_copy_killed_at_a_call_of_its_pull_and_syncs_is_one_sync_or_the_next) {
  if (LiveAsChild()) return;
  const uint64_t kills = FromEnvironment("FARPAGE_KILLS", 8);
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", NowNs());
  std::mt19937_64 random(seed);
  uint64_t killed = 0;
  uint64_t reach = kReach;
  for (uint64_t n = 0; n < kills; n++) {
    const TemporaryFolder folder;
    auto* told = ShareFile<CopyTold>(folder.File("told"));
    // Two lives of one copy, so that the second one finds parts of a pull.
    for (int child = 0; child < 2; child++) {
      const uint64_t nth = 1 + random() % reach;
      const std::string text = std::to_string(nth) + " " + folder.File("");
      if (IsKilled("atomic_copy_killed_at_a_call_of_its_pull_and_syncs_is_one_sync_or_the_next",
                   text, folder.File(""), 0)) {
        killed++;
        reach = std::max(reach, nth + 20);
      }
      CopyLife next(folder.File(""), told);
      CHECK_EQ(int(next.Start()), int(Code::kOk));
      next.CheckFound();
    }
    {
      CopyLife next(folder.File(""), told);
      CHECK_EQ(int(next.Start()), int(Code::kOk));
      next.CheckFound();
      CHECK_EQ(int(next.Put()), int(Code::kOk));
      CHECK_EQ(int(next.Sync()), int(Code::kOk));
      PullAll(next);
    }
    ::munmap(told, sizeof(CopyTold));
  }
  std::printf("seed %llu, %llu of %llu lives were killed\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(killed), static_cast<unsigned long long>(2 * kills));
  CHECK(killed > 0);
}

namespace {

// With `failing_syncs` one fdatasync of the life fails.
void LosePower(bool failing_syncs) {
  LivePowerLosses(1, [&](std::mt19937_64& random) {
    const TemporaryFolder folder;
    const CallRecord calls(folder.File(""));
    const uint64_t failing = failing_syncs ? 1 + random() % kSyncCalls : 0;
    // Before a cut a sync was told, and before the next one this was begun.
    std::vector<std::pair<size_t, CopyTold>> moments;
    CopyTold told;
    {
      CopyLife life(folder.File(""), &told);
      const auto note = [&] { moments.emplace_back(calls.size(), told); };
      CHECK_EQ(int(life.Start()), int(Code::kOk));
      note();
      const CallFault fault(folder.File(""), kCallSync, failing, EIO);
      life.BeginPull();
      for (uint64_t n = 0; n < kSyncs; n++) {
        CHECK_EQ(int(life.Put()), int(Code::kOk));
        note();
        // One may fail: then it promised nothing, and its pages are in the next one.
        if (life.Sync() != Code::kOk) CHECK_EQ(int(life.Sync()), int(Code::kOk));
        note();
      }
      const Code pulled = life.AwaitPull();
      if (failing == 0) CHECK_EQ(int(pulled), int(Code::kOk));
    }
    uint64_t losses = 0;
    for (size_t cut = moments.front().first; cut <= calls.size(); cut++) {
      CopyTold held;
      for (const auto& [at, then] : moments) {
        held.begun = then.begun;  // what was under way too
        if (at > cut) break;
        held.synced = then.synced;
      }
      const TemporaryFolder left;
      calls.PowerLoss(cut, random, left.File(""));
      CopyLife next(left.File(""), &held);
      CHECK_EQ(int(next.Start()), int(Code::kOk));
      next.CheckFound();
      losses++;
    }
    return losses;
  });
}

}  // namespace

FARPAGE_TEST(atomic_copy_whose_power_is_lost_is_one_sync_or_the_next) { LosePower(false); }
FARPAGE_TEST(atomic_copy_whose_power_is_lost_after_a_failed_fdatasync_is_one_or_the_next) {
  LosePower(true);
}

namespace {

// True while the fault was reached.
bool LiveThrough(uint32_t kinds, uint64_t nth, int error) {
  const TemporaryFolder folder;
  const CallRecord no_device(folder.File(""));  // which would take its time for each barrier
  CopyTold told;
  CopyLife life(folder.File(""), &told);
  std::optional<CallFault> fault(std::in_place, folder.File(""), kinds, nth, error);
  int failures = 0;
  // One failure, with its code, and then it does well.
  const auto must = [&](auto attempt) {
    Code code = attempt();
    if (code == Code::kOk) return;
    failures++;
    const bool full = error == ENOSPC && code == Code::kMemoryFull;
    if (!full) CHECK_EQ(int(code), int(CodeOfErrno(error)));
    code = attempt();
    CHECK_EQ(int(code), int(Code::kOk));
  };
  const auto put = [&] { must([&] { return life.Put(); }); };
  const auto sync = [&] { must([&] { return life.Sync(); }); };
  const auto pull = [&] {
    must([&] {
      life.BeginPull();
      return life.AwaitPull();
    });
  };
  must([&] { return life.Start(); });
  put();
  life.BeginPull();
  const Code early = life.Sync();
  const Code pulled = life.AwaitPull();
  for (const Code code : {early, pulled}) {
    if (code == Code::kOk) continue;
    failures++;
    CHECK_EQ(int(code), int(CodeOfErrno(error)));
  }
  sync();
  pull();
  put();
  sync();
  CHECK_EQ(life.needed_pages(), 0u);
  CHECK_EQ(life.region().table->dirty(), 0u);
  // One that an fdatasync told of may end both.
  CHECK(failures <= 2);
  life.CheckFound();
  const bool reached = fault->reached();
  fault.reset();
  life.Stop();
  CHECK_EQ(int(life.Start()), int(Code::kOk));
  life.CheckFound();
  CHECK_EQ(told.synced, told.begun);
  PullAll(life);
  return reached;
}

void FailEach(uint32_t kinds, int error) {
  constexpr uint64_t kCallsMax = 1000;
  uint64_t nth = 1;
  while (nth < kCallsMax && LiveThrough(kinds, nth, error)) nth++;
  std::printf("%llu calls failed, one by one\n", static_cast<unsigned long long>(nth - 1));
  CHECK(nth > 20);
  CHECK(nth < kCallsMax);
}

}  // namespace

FARPAGE_TEST(atomic_copy_finds_no_space_at_one_call_after_the_other) {
  FailEach(kCallOpen | kCallWrite | kCallTruncate | kCallAllocate, ENOSPC);
}
FARPAGE_TEST(atomic_copy_meets_bad_blocks_at_one_call_after_the_other) {
  FailEach(kCallsThatWrite | kCallRead, EIO);
}

}  // namespace farpage::test
