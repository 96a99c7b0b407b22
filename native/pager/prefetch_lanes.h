// Whose thread takes which prefetch further: one that a store holds up delays no other.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/region.h"
#include "os/thread.h"

namespace farpage {

struct Prefetch;

// Prefetches under way, at most; further ones end with kQuota.
inline constexpr size_t kPrefetchesMax = 1024;
// Steps of prefetches that devices hold up at a time, and the one that goes on, at most; those of
// one device.
inline constexpr size_t kPrefetchLanesMax = 16;
inline constexpr size_t kDeviceLanesMax = kPrefetchLanesMax / 4;
// How long a step takes before others stop waiting for it.
inline constexpr uint64_t kStuckStepNs = 500'000'000;

// What a step of a prefetch has come to.
enum class PrefetchStep : uint8_t { kMoved, kWaiting, kResting, kEnded };

// Prefetches are taken further in turn, a step each, by one thread: they are in no hurry, and the
// device is the limit. One whose step takes long keeps its thread to itself and another thread goes
// on with the others, but for those of its region. The first thread starts with the first
// prefetch, a second one when there are two of them. Thread: any.
class PrefetchLanes {
 public:
  using Job = std::shared_ptr<Prefetch>;
  // `step` is called for one prefetch by one thread at a time, `end` once, when a step has said
  // that it ended.
  PrefetchLanes(std::function<PrefetchStep(const Job&)> step, std::function<void(const Job&)> end)
      : step_(std::move(step)), end_(std::move(end)) {}
  ~PrefetchLanes() { Close(); }

  // From now on it is taken further. Fails: kClosed, kQuota.
  Code Add(Job job, const Region& region);

  // Tells the threads that `change`, made under their lock, has happened: once a prefetch has
  // ended, nothing of this object is touched for it any more.
  template <typename Change>
  void WakeBy(Change change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    change();
    woken_ = true;
    wake_.notify_one();
  }
  // The same lock.
  [[nodiscard]] std::unique_lock<std::mutex> Lock() { return std::unique_lock(mutex_); }

  // Ends after the prefetches there are; idempotent.
  void Close();

 private:
  struct Entry {
    Job job;
    const Region* region;
    uint64_t device;
    bool stepped = false;  // a thread has it, or it has ended
  };
  void Loop();
  // The rest requires the lock.
  // Another thread, if there is use for one.
  void AddLane();
  // No step is under way, or one that is waited for no longer.
  [[nodiscard]] bool IsFree() const;
  // Every prefetch once, as long as it is this thread's turn; whether one moved, or rests.
  void GoRound(std::unique_lock<std::mutex>& lock, uint64_t turn, bool* moved, bool* resting);
  PrefetchStep TakeFurther(std::unique_lock<std::mutex>& lock, uint64_t turn,
                           const std::shared_ptr<Entry>& entry);
  [[nodiscard]] bool IsHeldUp(const Entry& entry) const;

  const std::function<PrefetchStep(const Job&)> step_;
  const std::function<void(const Job&)> end_;
  std::mutex mutex_;              // guards what follows
  std::condition_variable wake_;  // for the thread whose turn it is
  std::condition_variable turn_changes_;
  std::vector<std::shared_ptr<Entry>> entries_;
  uint64_t turn_ = 0;
  bool taken_ = false;     // a thread has the turn
  uint64_t since_ns_ = 0;  // its step's beginning; 0: it is in none
  bool woken_ = false;
  size_t stepped_ = 0;  // steps under way
  size_t held_up_ = 0;  // of these, those that are waited for no longer
  bool closing_ = false;
  std::vector<Thread> lanes_;
};

}  // namespace farpage
