// Which thread fills what: one line for all, and one for each device that keeps threads busy.
#include <algorithm>
#include <string>
#include <utility>

#include "base/clock.h"
#include "pager/filler.h"
#include "pager/page_change.h"

namespace farpage {
namespace {

// What is in a tier comes from there, whatever device that is on.
constexpr uint64_t kTiersDevice = ~uint64_t{0};

}  // namespace

// No device has the number of an address: a store that is no file is a device by itself.
uint64_t Filler::DeviceOf(const Region& region, PageIndex page) {
  if (IsElsewhere(region, page)) return kTiersDevice;
  return region.device != 0 ? region.device : reinterpret_cast<uintptr_t>(&region);
}

void Filler::AddThread() {
  const size_t number = threads_.size();
  took_ns_.push_back(0);
  threads_.emplace_back("fill-" + std::to_string(number), [this, number] { Loop(number); });
}

void Filler::Close() {
  std::deque<Job> left;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    left.swap(jobs_);
    for (Line& line : lines_) {
      std::move(line.waiting.begin(), line.waiting.end(), std::back_inserter(left));
      line.waiting.clear();
    }
  }
  wake_.notify_all();
  for (Thread& thread : threads_) thread.Join();
  for (Job& job : left) {
    GiveUp(job, Code::kClosed);
    job.region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
}

size_t Filler::Moving(uint64_t now) const {
  return static_cast<size_t>(std::count_if(took_ns_.begin(), took_ns_.end(), [now](uint64_t took) {
    return now < took + kSlowFillNs;  // 0 is long ago
  }));
}

bool Filler::Submit(const std::shared_ptr<Region>& region, PageRun run, bool to_write) {
  return Queue({region, run, {}, to_write, DeviceOf(*region, run.first)});
}

Filler::Line* Filler::FindLine(uint64_t device) {
  const auto found = std::find_if(lines_.begin(), lines_.end(),
                                  [device](const Line& line) { return line.device == device; });
  return found == lines_.end() ? nullptr : &*found;
}

bool Filler::Queue(Job job) {
  const uint64_t now = NowNs();
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Line* const line = FindLine(job.device);
    const bool waits = line != nullptr && line->busy == device_threads_;
    if (closing_ || jobs_.size() >= kFillJobsMax) return false;
    if (waits && line->waiting.size() >= kDeviceJobsMax) return false;
    job.region->jobs.fetch_add(1, std::memory_order_acq_rel);
    queued_.fetch_add(1, std::memory_order_relaxed);
    if (waits) {
      line->waiting.push_back(std::move(job));
    } else {
      jobs_.push_back(std::move(job));
      // One thread waits for many reads as fast as many threads do, unless the reads before it are
      // slow: then the queue grows, and another thread joins. None that hangs comes back.
      wake = idle_ != 0 && jobs_.size() > Moving(now) * kJobsPerThread;
    }
  }
  if (wake) wake_.notify_one();
  return true;
}

void Filler::Nudge() {
  bool wake = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_ || jobs_.empty()) return;
    wake = idle_ != 0;
    if (!wake && threads_.size() < size_t{device_threads_} * kHungDevicesMax) AddThread();
  }
  if (wake) wake_.notify_one();
}

Filler::Line& Filler::LineOf(uint64_t device) {
  if (Line* const line = FindLine(device); line != nullptr) return *line;
  for (Line& line : lines_) {
    if (line.busy != 0 || !line.waiting.empty()) continue;
    line.device = device;  // nobody needs it now
    return line;
  }
  return lines_.emplace_back(Line{device});
}

bool Filler::TakeJob(Job* job) {
  while (!jobs_.empty()) {
    *job = std::move(jobs_.front());
    jobs_.pop_front();
    Line* const line = &LineOf(job->device);
    if (line->busy < device_threads_) {
      line->busy++;
      return true;
    }
    line->waiting.push_back(std::move(*job));
  }
  return false;
}

void Filler::EndJob(uint64_t device) {
  Line* const line = FindLine(device);
  line->busy--;
  if (line->waiting.empty()) return;
  // Behind all others: who waits for another device has waited for these threads, too.
  jobs_.push_back(std::move(line->waiting.front()));
  line->waiting.pop_front();
}

void Filler::Loop(size_t number) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_) {
    Job job;
    if (!TakeJob(&job)) {
      idle_++;
      wake_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
      idle_--;
      continue;
    }
    took_ns_[number] = NowNs();
    lock.unlock();
    Fill(job);
    queued_.fetch_sub(1, std::memory_order_relaxed);
    job.region->jobs.fetch_sub(1, std::memory_order_acq_rel);
    job.region.reset();
    lock.lock();
    took_ns_[number] = 0;
    EndJob(job.device);
  }
}

}  // namespace farpage
