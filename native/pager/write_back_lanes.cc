#include "pager/write_back_lanes.h"

#include <algorithm>
#include <string>
#include <utility>

namespace farpage {
namespace {

bool Has(const std::vector<const Region*>& regions, const Region* region) {
  return std::find(regions.begin(), regions.end(), region) != regions.end();
}

}  // namespace

WriteBackLanes::WriteBackLanes(Run run)
    : run_(std::move(run)), thread_("writeback", [this] { Loop(); }) {}

bool WriteBackLanes::IsSlow(const Region& region) {
  return region.store->writes_elsewhere() ||
         (region.overlay != nullptr && region.overlay->asks_peers());
}

Code WriteBackLanes::Submit(WriteBackJob& job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closing_) return Code::kClosed;
  if (jobs_.size() + slow_jobs_.size() >= kWriteBackJobsMax) return Code::kQuota;
  job.region->jobs.fetch_add(1, std::memory_order_acq_rel);
  if (!IsSlow(*job.region)) {
    jobs_.push_back(std::move(job));
    wake_.notify_one();
    return Code::kOk;
  }
  slow_jobs_.push_back(std::move(job));
  if (ReadyRegions() > idle_ && lanes_.size() < kSlowLanesMax) {
    lanes_.emplace_back("writeback-" + std::to_string(lanes_.size()), [this] { LoopSlow(); });
  } else {
    slow_wake_.notify_one();
  }
  return Code::kOk;
}

// Each of them needs a lane of its own. Requires the lock.
size_t WriteBackLanes::ReadyRegions() const {
  std::vector<const Region*> ready;
  for (const WriteBackJob& job : slow_jobs_) {
    const Region* region = job.region.get();
    if (!Has(busy_, region) && !Has(ready, region)) ready.push_back(region);
  }
  return ready.size();
}

bool WriteBackLanes::TakeSlow(WriteBackJob* job) {
  const auto first = std::find_if(slow_jobs_.begin(), slow_jobs_.end(), [&](const auto& item) {
    return !Has(busy_, item.region.get());
  });
  if (first == slow_jobs_.end()) return false;
  *job = std::move(*first);
  slow_jobs_.erase(first);
  return true;
}

void WriteBackLanes::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    WriteBackJob job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    run_(std::move(job));
    lock.lock();
  }
}

void WriteBackLanes::LoopSlow() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    WriteBackJob job;
    if (!TakeSlow(&job)) {
      // What is queued for a busy region, that region's lane goes on with.
      if (closing_) return;
      idle_++;
      slow_wake_.wait(lock);
      idle_--;
      continue;
    }
    const Region* region = job.region.get();
    busy_.push_back(region);
    lock.unlock();
    run_(std::move(job));
    lock.lock();
    std::erase(busy_, region);
  }
}

void WriteBackLanes::Close() {
  std::vector<Thread> lanes;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    lanes.swap(lanes_);
  }
  wake_.notify_all();
  slow_wake_.notify_all();
  thread_.Join();
  for (Thread& lane : lanes) lane.Join();
}

}  // namespace farpage
