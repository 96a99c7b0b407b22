#include "pager/prefetch_lanes.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "base/clock.h"

namespace farpage {
namespace {

// How long the thread sleeps when nothing tells it to look: what it waits for wakes it.
constexpr auto kLook = std::chrono::milliseconds(20);
// The same while a prefetch rests because others wait for pages.
constexpr auto kRest = std::chrono::milliseconds(1);

}  // namespace

Code PrefetchLanes::Add(Job job, const Region& region) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closing_) return Code::kClosed;
  if (entries_.size() == kPrefetchesMax) return Code::kQuota;
  entries_.push_back(std::make_shared<Entry>(Entry{std::move(job), &region, region.device}));
  AddLane();
  turn_changes_.notify_all();
  woken_ = true;
  wake_.notify_one();
  return Code::kOk;
}

void PrefetchLanes::AddLane() {
  // Beside the one whose turn it is, one sees to it that nobody waits for a step that hangs.
  const size_t wanted = held_up_ + (entries_.size() > 1 ? 2 : 1);
  if (closing_ || lanes_.size() >= std::min(wanted, kPrefetchLanesMax)) return;
  const std::string number = lanes_.empty() ? "" : "-" + std::to_string(lanes_.size());
  lanes_.emplace_back("prefetch" + number, [this] { Loop(); });
}

bool PrefetchLanes::IsFree() const {
  return !taken_ || (since_ns_ != 0 && NowNs() >= since_ns_ + kStuckStepNs);
}

void PrefetchLanes::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_ || !entries_.empty()) {
    if (entries_.empty() || !IsFree()) {
      if (entries_.size() > 1) {
        turn_changes_.wait_for(lock, std::chrono::nanoseconds(kStuckStepNs));
      } else {
        turn_changes_.wait(lock);
      }
      continue;
    }
    if (taken_) held_up_++;
    const uint64_t turn = ++turn_;
    taken_ = true;
    since_ns_ = 0;
    AddLane();
    while (turn == turn_ && !entries_.empty()) {
      bool moved = false;
      bool resting = false;
      woken_ = false;
      GoRound(lock, turn, &moved, &resting);
      if (moved || turn != turn_) continue;
      wake_.wait_for(lock, resting ? kRest : kLook, [this] { return woken_; });
    }
    if (turn == turn_) taken_ = false;
  }
  turn_changes_.notify_all();
}

void PrefetchLanes::GoRound(std::unique_lock<std::mutex>& lock, uint64_t turn, bool* moved,
                            bool* resting) {
  const auto entries = entries_;
  for (const auto& entry : entries) {
    if (IsHeldUp(*entry)) continue;
    const PrefetchStep next = TakeFurther(lock, turn, entry);
    *moved = *moved || next == PrefetchStep::kMoved || next == PrefetchStep::kEnded;
    *resting = *resting || next == PrefetchStep::kResting;
    if (turn != turn_) return;
  }
}

PrefetchStep PrefetchLanes::TakeFurther(std::unique_lock<std::mutex>& lock, uint64_t turn,
                                        const std::shared_ptr<Entry>& entry) {
  entry->stepped = true;
  stepped_++;
  since_ns_ = NowNs();
  lock.unlock();
  const PrefetchStep next = step_(entry->job);
  lock.lock();
  stepped_--;
  if (turn == turn_) {
    since_ns_ = 0;
  } else {
    held_up_--;
  }
  entry->stepped = next == PrefetchStep::kEnded;
  if (!entry->stepped) return next;
  std::erase(entries_, entry);
  lock.unlock();
  end_(entry->job);
  lock.lock();
  return next;
}

// Another thread has it, or has ended it, or has one of its region; or too many have one of its
// device.
bool PrefetchLanes::IsHeldUp(const Entry& entry) const {
  if (entry.stepped || stepped_ == 0) return entry.stepped;
  size_t lanes = 0;
  for (const auto& other : entries_) {
    if (!other->stepped) continue;
    if (other->region == entry.region) return true;
    if (entry.device != 0 && other->device == entry.device) lanes++;
  }
  return lanes == kDeviceLanesMax;
}

void PrefetchLanes::Close() {
  std::vector<Thread> lanes;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    lanes.swap(lanes_);
  }
  turn_changes_.notify_all();
  wake_.notify_all();
  for (Thread& lane : lanes) lane.Join();
}

}  // namespace farpage
