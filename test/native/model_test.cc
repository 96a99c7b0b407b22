// A random mix of reads, writes, atomics, fences, syncs, reclaims and page-cache drops by several
// clients, against a model in memory: no difference, and nothing left over.
#include "check.h"
#include "model_run.h"

namespace farpage::test {

FARPAGE_TEST(model_file_with_room) { RunModel({}); }

FARPAGE_TEST(model_file_that_may_write_behind_under_a_tiny_budget) {
  ModelRun run;
  run.frames = 10;
  run.write_behind = true;
  RunModel(run);
}

FARPAGE_TEST(model_file_under_two_percent) {
  ModelRun run;
  run.size_bytes = 6 * 1024 * 1024 + 1;
  run.frames = 30;
  run.rules.may_fail = Code::kMemoryFull;  // dirty pages must not go: until the next sync
  RunModel(run);
}

FARPAGE_TEST(model_file_synced_atomically) {
  ModelRun run;
  run.atomic = true;
  RunModel(run);
}

FARPAGE_TEST(model_file_synced_atomically_under_ten_percent) {
  ModelRun run;
  run.atomic = true;
  run.size_bytes = 6 * 1024 * 1024 + 1;
  run.frames = 160;
  run.rules.may_fail = Code::kMemoryFull;
  RunModel(run);
}

FARPAGE_TEST(model_anonymous) {
  ModelRun run;
  run.file = false;
  run.size_bytes = 1024 * 1024 + 13;
  RunModel(run);
}

FARPAGE_TEST(model_file_in_tiers_under_a_tiny_budget) {
  ModelRun run;
  run.frames = 20;
  run.tiers = true;
  RunModel(run);
}

FARPAGE_TEST(model_anonymous_in_tiers_under_two_percent) {
  ModelRun run;
  run.file = false;
  run.size_bytes = 4 * 1024 * 1024 + 13;
  run.frames = 20;
  run.tiers = true;
  RunModel(run);
}

FARPAGE_TEST(model_file_in_the_default_spill_file_under_two_percent) {
  ModelRun run;
  run.size_bytes = 6 * 1024 * 1024 + 1;
  run.frames = 30;
  run.default_spill = true;
  run.rules.may_fail = Code::kNoSpace;  // it is full where all pages are dirty: until the next sync
  RunModel(run);
}

FARPAGE_TEST(model_file_with_everything_under_two_percent) {
  ModelRun run;
  run.size_bytes = 6 * 1024 * 1024 + 1;
  run.frames = 30;
  run.everything = true;
  RunModel(run);
}

FARPAGE_TEST(model_anonymous_with_everything_under_two_percent) {
  ModelRun run;
  run.file = false;
  run.size_bytes = 6 * 1024 * 1024 + 13;
  run.frames = 30;
  run.everything = true;
  run.protects = true;
  run.rules.may_fail = Code::kAccess;
  RunModel(run);
}

FARPAGE_TEST(model_file_whose_ranges_are_protected_now_and_then) {
  ModelRun run;
  run.protects = true;
  run.rounds = 80;
  run.rules.may_fail = Code::kAccess;
  RunModel(run);
}

FARPAGE_TEST(model_file_cut_off_on_the_way) {
  ModelRun run;
  run.truncated_bytes = 1024 * 1024;
  run.frames = 400;
  run.write_behind = true;
  RunModel(run);
}

}  // namespace farpage::test
