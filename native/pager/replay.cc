// A prefetch of many ranges: what memory had once, brought back in an order of its own.
#include <algorithm>

#include "pager/prefetcher.h"

namespace farpage {

std::shared_ptr<Prefetch> Prefetcher::Begin(std::shared_ptr<Region> region,
                                            std::vector<PageRun> ranges, PrefetchDone done) {
  auto job = std::make_shared<Prefetch>();
  const uint64_t pages = region->table->pages();
  for (PageRun& range : ranges) {
    range.first = std::min(range.first, pages);
    range.count = std::min(range.count, pages - range.first);
    job->pages += range.count;
  }
  std::reverse(ranges.begin(), ranges.end());
  job->rest = std::move(ranges);
  job->told = job->rest.size();
  job->region = std::move(region);
  job->done = std::move(done);
  NextRange(*job);
  return Start(std::move(job));
}

// Goes on with the next range; false: there is none.
bool Prefetcher::NextRange(Prefetch& job) {
  if (job.rest.empty()) return false;
  job.passed_before += job.range.count;
  job.range = job.rest.back();
  job.rest.pop_back();
  job.at = job.recycled_to = job.range.first;
  job.origin_end = 0;
  // Single pages wait for a device one after the other, unless it knows of many.
  const size_t last = job.rest.size() - std::min(job.rest.size(), kRangesAhead);
  for (job.told = std::min(job.told, job.rest.size()); job.told > last; job.told--) {
    const PageRun ahead = job.rest[job.told - 1];
    const PageRun first{ahead.first, std::min(ahead.count, kPrefetchRunPages)};
    const PageOrigin origin = job.region->memory->OriginOf(first).origin;
    if (origin == PageOrigin::kFile || origin == PageOrigin::kKept) {
      job.region->memory->StartRead(first);
    }
  }
  return true;
}

}  // namespace farpage
