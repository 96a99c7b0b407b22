// One run of a region against its model: what it is made of, and how it goes.
// FARPAGE_SEED repeats a run; FARPAGE_ROUNDS (batches of every client) makes it longer.
#pragma once

#include <atomic>
#include <string>

#include "model.h"

namespace farpage::test {

struct ModelRun {
  uint64_t size_bytes = 2 * 1024 * 1024 + 777;
  uint64_t frames = 1u << 20;
  uint32_t clients = 4;
  uint64_t rounds = 40;
  bool file = true;
  bool write_behind = false;
  bool tiers = false;            // a little compressed memory over a spill file
  bool default_spill = false;    // the spill file of an appliance where no tier is named
  bool everything = false;       // and a pool at a peer below; pins, promotions, prefetches
  bool atomic = false;           // staged, and synced through a journal
  bool protects = false;         // ranges are taken from the clients, and given back
  uint64_t truncated_bytes = 0;  // the file is cut to this on the way; clients stay below
  ModelRules rules;
};

// What an administrator and a busy machine do until `stop`: sync, reclaim, demote, invalidate, and
// what the run has more of. `path` is the region's file, or empty.
void Disturb(Appliance& appliance, const std::string& path, uint64_t seed, const ModelRun& run_of,
             const std::atomic<bool>& stop);

// Several clients use the region, and others disturb; then the region and its file hold what the
// model says, and nothing is left over.
void RunModel(const ModelRun& run);

}  // namespace farpage::test
