#include "pager/write_back_lanes.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/clock.h"

namespace farpage {

bool WriteBackLanes::IsSlow(const Region& region) {
  return region.store->writes_elsewhere() ||
         (region.overlay != nullptr && region.overlay->asks_peers());
}

Code WriteBackLanes::Submit(WriteBackJob& job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closing_) return Code::kClosed;
  if (files_.jobs.size() + slow_.jobs.size() >= kWriteBackJobsMax) return Code::kQuota;
  job.region->jobs.fetch_add(1, std::memory_order_acq_rel);
  Side& side = IsSlow(*job.region) ? slow_ : files_;
  side.jobs.push_back(std::move(job));
  // With one at a time one that has nothing to do sees to it that nobody waits for a stuck one.
  const size_t wanted = side.one_at_a_time ? 1 : ReadyRegions(side);
  if (side.idle < wanted && side.lanes.size() < side.lanes_max) {
    AddLane(side);
  } else {
    side.wake.notify_one();
  }
  return Code::kOk;
}

void WriteBackLanes::AddLane(Side& side) {
  const std::string number = "-" + std::to_string(side.lanes.size());
  side.lanes.emplace_back(side.one_at_a_time ? "writeback" : "writeback" + number,
                          [this, &side] { Loop(side); });
}

// Each of them needs a lane of its own.
size_t WriteBackLanes::ReadyRegions(const Side& side) {
  std::vector<const Region*> seen;
  for (const Running& running : side.running) seen.push_back(running.region);
  for (const WriteBackJob& job : side.jobs) {
    const Region* region = job.region.get();
    if (std::find(seen.begin(), seen.end(), region) == seen.end()) seen.push_back(region);
  }
  return seen.size() - side.running.size();
}

bool WriteBackLanes::Take(Side& side, WriteBackJob* job, uint64_t* look_ns) {
  const auto first = std::find_if(side.jobs.begin(), side.jobs.end(), [&](const auto& item) {
    return std::none_of(side.running.begin(), side.running.end(), [&](const Running& running) {
      return running.region == item.region.get();
    });
  });
  *look_ns = 0;
  if (first == side.jobs.end()) return false;
  if (side.one_at_a_time) {
    for (const Running& running : side.running) {
      *look_ns = std::max(*look_ns, running.since_ns + kStuckNs);
    }
    if (*look_ns > NowNs()) return false;
  }
  *job = std::move(*first);
  side.jobs.erase(first);
  return true;
}

void WriteBackLanes::Loop(Side& side) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    WriteBackJob job;
    uint64_t look_ns = 0;
    if (!Take(side, &job, &look_ns)) {
      // What is queued, a lane that is working goes on with.
      if (closing_) return;
      side.idle++;
      if (look_ns == 0) {
        side.wake.wait(lock);
      } else {
        const uint64_t now = NowNs();
        side.wake.wait_for(lock, std::chrono::nanoseconds(look_ns - std::min(look_ns, now)));
      }
      side.idle--;
      continue;
    }
    const Region* region = job.region.get();
    side.running.push_back({region, NowNs()});
    const bool others_wait = side.one_at_a_time && !side.jobs.empty() && side.idle == 0;
    if (others_wait && !closing_ && side.lanes.size() < side.lanes_max) AddLane(side);
    lock.unlock();
    run_(std::move(job));
    lock.lock();
    std::erase_if(side.running, [&](const Running& each) { return each.region == region; });
  }
}

void WriteBackLanes::Close() {
  std::vector<Thread> lanes;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    for (Side* side : {&files_, &slow_}) {
      for (Thread& lane : side->lanes) lanes.push_back(std::move(lane));
      side->lanes.clear();
    }
  }
  files_.wake.notify_all();
  slow_.wake.notify_all();
  for (Thread& lane : lanes) lane.Join();
}

}  // namespace farpage
