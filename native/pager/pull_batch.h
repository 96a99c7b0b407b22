// Pulled runs on their way into the store that keeps them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "memory/region.h"

namespace farpage {

// Runs that are written together, at most: the device is busy while their neighbours are copied.
inline constexpr size_t kPullBatchRuns = 4;

// A claimed run whose read has ended, and where its bytes are: at an address that O_DIRECT takes.
// Null: in region memory, where they were before.
struct ArrivedRun {
  PageRun run;
  std::shared_ptr<std::byte[]> bytes;
  Status read;
};

// One of those, and what the store said of it.
struct PulledRun {
  ArrivedRun arrived;
  PageImage image;
  uint64_t failed_syncs = 0;  // of the region, before it was begun
};

// Claimed runs that are in region memory and being written from their buffers. One thread.
class PullBatch {
 public:
  [[nodiscard]] bool empty() const { return runs_.empty(); }
  [[nodiscard]] bool full() const { return runs_.size() == kPullBatchRuns; }

  // Begins to write a run; requires: not full.
  void Begin(Region& region, ArrivedRun arrived);

  // Waits for all of them, and takes them out.
  std::vector<PulledRun> End();

 private:
  std::unique_ptr<PageWrites> writes_;
  std::vector<PulledRun> runs_;
};

}  // namespace farpage
