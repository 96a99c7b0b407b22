// A level below region memory that holds bytes of pages: compressed memory, a spill file, a region
// of another appliance.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/result.h"

namespace farpage {

// Where a tier has put a page; means nothing to anybody else.
using TierSlot = uint64_t;
// Slots fit into this many bits: a page's entry keeps more beside it.
inline constexpr uint32_t kTierSlotBits = 48;

// One page on its way into a tier.
struct TierPage {
  const std::byte* bytes = nullptr;  // kPageBytes of them, which nobody changes meanwhile
  TierSlot slot = 0;                 // set by Put
  Status outcome;                    // set by Put
};

using TierDone = std::function<void(Status)>;

// Tiers know slots and nothing of regions. Thread: any; calls may run concurrently, but nobody
// reads a slot while it is freed.
class Tier {
 public:
  virtual ~Tier() = default;

  // Keeps copies of pages, each with its own outcome: kNoSpace beyond the capacity or where the
  // device is full, kIo, kTierAway. May wait for a device. Neighbours are written together.
  virtual void Put(std::span<TierPage> pages) = 0;

  // Puts the page of a slot at `into`. Fails: kIo, kTierAway, kPageLost (the slot holds no page).
  virtual Status Get(TierSlot slot, std::byte* into) = 0;

  // The same where a peer has to be asked: says later, on any thread but within a bound of its own,
  // how it ended, and stores nothing at `into` after that. `done` must not wait. Requires
  // starts_gets().
  virtual void StartGet(TierSlot, std::byte*, TierDone done) {
    done(Error{Code::kUnsupported, 0, "this tier is read by waiting"});
  }

  virtual void Free(TierSlot slot) = 0;

  // True: Get takes microseconds and waits for nothing, so a fabric thread may call it.
  [[nodiscard]] virtual bool gets_in_place() const = 0;

  // True: a peer is asked, which may be away. Then a slot may be freed while it is read: whoever
  // reads it finds out what became of it by himself.
  [[nodiscard]] virtual bool starts_gets() const { return false; }
  // False: what it holds cannot be had now, and may come back.
  [[nodiscard]] virtual bool reachable() const { return true; }

  [[nodiscard]] virtual const char* kind() const = 0;
  // Bytes that it may use at most, and uses now; pages that it holds.
  [[nodiscard]] virtual uint64_t capacity_bytes() const = 0;
  [[nodiscard]] virtual uint64_t used_bytes() const = 0;
  [[nodiscard]] uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }

 protected:
  std::atomic<uint64_t> pages_{0};
};

}  // namespace farpage
