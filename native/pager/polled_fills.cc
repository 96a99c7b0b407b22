#include "pager/polled_fills.h"

#include <algorithm>

#include "base/clock.h"

namespace farpage {

bool PolledFills::Add(const std::shared_ptr<Region>& region, PageRun run, bool to_write) {
  if (reads_.size() == kPolledReadsMax) return false;
  region->jobs.fetch_add(1, std::memory_order_acq_rel);
  reads_.push_back({region, run, to_write, NowNs()});
  return true;
}

bool PolledFills::Look(uint64_t now_ns) {
  bool done = false;
  size_t looks = 0;
  for (auto read = reads_.begin(); read != reads_.end() && !done && looks < kPolledLooksMax;
       looks++) {
    if (read->region->memory->IsRead(read->run)) {
      done = true;
      (void)filler_.FillNow(read->region, read->run);
    } else if (now_ns > read->started_ns + kPolledNs ||
               read->region->removed.load(std::memory_order_acquire)) {
      HandOver(*read);
    } else {
      ++read;
      continue;
    }
    read->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
    read = reads_.erase(read);
  }
  return done;
}

void PolledFills::HandOverAll() {
  for (const Read& read : reads_) {
    HandOver(read);
    read.region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  reads_.clear();
}

void PolledFills::HandOver(const Read& read) {
  // The thread takes the frames again: it is the one that can wait for them.
  Filler::ReturnFrames(*read.region, budget_, read.run.count);
  if (filler_.Submit(read.region, read.run, read.to_write)) return;
  filler_.GiveUp(read.region, read.run, Code::kOk);
}

}  // namespace farpage
