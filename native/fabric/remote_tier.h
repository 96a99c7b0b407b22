// Memory of another appliance as a tier.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric/remote_pool.h"
#include "memory/slot_map.h"
#include "memory/tier.h"

namespace farpage {

struct RemoteTierOptions {
  std::string pool;             // its URL, for people
  uint64_t capacity_bytes = 0;  // at most; 0: all of the pool
  uint64_t deadline_ns = 2'000'000'000;
  std::function<void()> need_door;
};

// Pages in slots of a region elsewhere, its *pool*: written by one-sided WRITEs with a fence, read
// by READs, which the other appliance's NIC serves alone. What is where is known here only, and the
// pool is nobody else's as long as the connection stands. A pool that is away refuses pages at
// once, and keeps what it has until it is back; of one that was made anew everything is lost. A
// slot whose WRITE did not end well is not used again before the connection that may still deliver
// it has gone. A pool whose appliance has no room for a page takes for a while only what fits into
// places that are freed meanwhile, where it keeps a page already. Thread: any.
class RemoteTier final : public Tier {
 public:
  // Bytes of one WRITE at most, of pages that follow one another here and there.
  static constexpr uint32_t kWriteBytesMax = uint32_t{256} << 10;
  // A slot is a place in the pool, and above it the number of the pool.
  static constexpr uint32_t kPlaceBits = 32;
  static constexpr uint64_t kPoolNumberMax = (uint64_t{1} << (kTierSlotBits - kPlaceBits)) - 1;
  // How long nothing new is put into a pool whose appliance had no room for it.
  static constexpr uint64_t kFullNs = 1'000'000'000;

  // Groups of places (kSlotGroup) that one TakeFreed looks at, and takes, at most; and which part
  // of all it takes at most, beside half of those that are free.
  static constexpr uint64_t kLookedGroupsMax = 4096;
  static constexpr uint64_t kFreedGroupsMax = 64;
  static constexpr uint64_t kFreedPart = 16;

  // Places of one pool.
  struct Freed {
    uint64_t pool = 0;
    std::vector<PageRun> runs;
  };

  explicit RemoteTier(RemoteTierOptions options);

  // Takes groups of places where pages were once, and none is now, nor was at the last call that
  // looked there: the pool may forget what they hold. Until EndFreed says whether it did no page is
  // put there, and all calls give the same. With `last` it is all places where pages ever were:
  // nobody will want them.
  Freed TakeFreed(bool last);
  void EndFreed(uint64_t pool, bool forgotten);

  // The answers to `need_door`.
  void Open(PoolDoor door);
  void Refuse(const Error& error) { connection_.Refuse(error); }

  void Put(std::span<TierPage> pages) override;
  Status Get(TierSlot slot, std::byte* into) override;
  void StartGet(TierSlot slot, std::byte* into, TierDone done) override;
  void Free(TierSlot slot) override;
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] bool starts_gets() const override { return true; }
  [[nodiscard]] bool reachable() const override {
    return connection_.state() != RemotePool::State::kAway;
  }
  [[nodiscard]] const char* kind() const override { return "appliance"; }
  // 0 before the pool was first seen.
  [[nodiscard]] uint64_t capacity_bytes() const override {
    return capacity_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] uint64_t used_bytes() const override {
    return used_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] const std::string& pool() const { return options_.pool; }
  [[nodiscard]] const RemotePool& connection() const { return connection_; }

 private:
  // A place whose last WRITE may still be on its way, and the connection that it was sent on.
  struct Suspect {
    uint64_t place = 0;
    uint64_t door = 0;
  };
  // What a group has of the tier's pages.
  enum class Trace : uint8_t {
    kNone,   // nothing: the pool has forgotten it
    kPages,  // pages, or bytes of them
    kIdle,   // bytes of them, as the last look found
  };
  uint64_t OnOpened(const PoolDoor& door, uint64_t number);
  uint64_t OnGone();
  void BeginPool(uint64_t bytes);
  bool MayGrow();
  void OnFull();
  void Count();
  void Touch(uint64_t place);
  void Take(uint64_t group, std::vector<PageRun>* runs) const;
  void LookForFreed();
  size_t TakePlaces(std::span<TierPage> pages, uint64_t* pool);
  void GiveBack(std::span<const TierPage> pages, uint64_t pool, uint64_t door);

  const RemoteTierOptions options_;
  std::atomic<uint64_t> capacity_{0};
  std::atomic<uint64_t> used_{0};
  std::mutex mutex_;  // guards what follows up to the blank line
  SlotMap places_{0};
  uint64_t pool_number_ = 0;
  uint64_t door_ = 0;
  std::vector<Suspect> suspects_;
  uint64_t full_until_ns_ = 0;
  std::vector<uint64_t> freed_;  // places that were freed while it was full, still taken in the map
  bool takes_none_ = false;      // not even there
  bool renewed_ = false;         // the pool behind the last door is another one than is known here
  std::vector<Trace> traces_;    // of each group, as far as pages were ever put
  uint64_t looked_to_ = 0;       // the group where the next TakeFreed begins
  std::vector<PageRun> forgetting_;  // that TakeFreed has taken
  uint64_t forgetting_places_ = 0;   // how many these are

  RemotePool connection_;  // the last one: its thread uses the rest
};

}  // namespace farpage
