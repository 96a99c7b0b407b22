// Waking a thread that sleeps on its sockets, at the price of one store while it is awake.
#pragma once

#include <atomic>

#include "fabric/initiator.h"
#include "os/fd.h"

namespace farpage {

// How long a sleep lasts at most where there was no descriptor for an eventfd(2) to wake it.
inline constexpr int kDeafSleepMs = 20;

// Rings stay until they are taken; several are one. Thread: any for Ring, its owner for the rest.
class Doorbell {
 public:
  Doorbell();

  // Also wakes the owner, by one eventfd(2) write, if it sleeps.
  void Ring();
  // Leaves a ring for the owner's next look, by the owner.
  void Keep() { rung_.store(true, std::memory_order_seq_cst); }
  // True: it was rung since the last time.
  bool Take() { return rung_.exchange(false, std::memory_order_seq_cst); }
  [[nodiscard]] bool rung() const { return rung_.load(std::memory_order_relaxed); }

  // poll(2) until a ring, something of the connection (null: none), or `timeout_ms` (-1: no bound).
  // Not at all if it was rung already.
  void SleepBeside(const Initiator* initiator, int timeout_ms);

 private:
  const Fd event_;
  std::atomic<bool> rung_{false};
  std::atomic<bool> asleep_{false};
};

}  // namespace farpage
