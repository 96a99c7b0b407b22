#include "pager/pull_batch.h"

#include <utility>

namespace farpage {

void PullBatch::Begin(Region& region, ArrivedRun arrived) {
  if (writes_ == nullptr) writes_ = region.store->StartWrites();
  runs_.reserve(kPullBatchRuns);  // images stay where they are
  const PageRun run = arrived.run;
  const std::byte* bytes = arrived.bytes.get();
  if (bytes == nullptr) bytes = region.memory->address() + run.offset_bytes();
  runs_.push_back({std::move(arrived),
                   {run, bytes, region.BytesIn(run), {}},
                   region.fills.failed_syncs.load(std::memory_order_seq_cst)});
  writes_->Begin(&runs_.back().image);
}

std::vector<PulledRun> PullBatch::End() {
  if (writes_ != nullptr) writes_->End();
  return std::exchange(runs_, {});
}

}  // namespace farpage
