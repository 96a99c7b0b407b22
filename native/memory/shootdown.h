// Shootdown by grace period: how rights are taken from threads that hold no lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace farpage {

// Threads that may touch region memory without a lock, at most.
inline constexpr uint32_t kTurnCountersMax = 64;

// One thread's turn counter: odd in a turn, even when it may block or sleep.
class alignas(64) TurnCounter {
 public:
  // Thread: the owner only.
  void Begin();
  void End();

 private:
  friend class Shootdown;
  std::atomic<uint64_t> value_{0};
  std::atomic<bool> used_{false};
};

// In one turn a thread checks page words, copies, and forgets. Who takes a right away clears it
// in the words first and then calls WaitGracePeriod(): afterwards no thread acts on an old look.
// The order between "turn begins" and "word is read" is kept by membarrier(2) on the waiting
// side, so that a turn costs two plain stores; where the kernel has none, by a full fence in
// Begin(). One grace period serves a batch of any size.
class Shootdown {
 public:
  Shootdown();
  Shootdown(const Shootdown&) = delete;
  Shootdown& operator=(const Shootdown&) = delete;

  // A counter for the calling thread; null when kTurnCountersMax are in use. Thread: any.
  TurnCounter* Register();
  void Unregister(TurnCounter* counter);

  // Returns when every turn that was under way at the call has ended. Must not be called in a
  // turn. A turn is bounded (no lock, no wait but the kernel's own for a page of a mapped file),
  // therefore so is this. Thread: any but the registered ones.
  void WaitGracePeriod();

  [[nodiscard]] uint64_t grace_periods() const {
    return grace_periods_.load(std::memory_order_relaxed);
  }

 private:
  std::array<TurnCounter, kTurnCountersMax> counters_;
  std::atomic<uint64_t> grace_periods_{0};
};

// A turn for the length of a scope.
class Turn {
 public:
  explicit Turn(TurnCounter* counter) : counter_(counter) { counter_->Begin(); }
  ~Turn() { counter_->End(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  TurnCounter* counter_;
};

}  // namespace farpage
