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

  explicit RemoteTier(RemoteTierOptions options);

  // The answers to `need_door`.
  void Open(PoolDoor door) { connection_.Open(std::move(door)); }
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
  uint64_t OnOpened(const PoolDoor& door, uint64_t number);
  uint64_t OnGone();
  void BeginPool(uint64_t bytes);
  bool MayGrow();
  void OnFull();
  void Count();
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

  RemotePool connection_;  // the last one: its thread uses the rest
};

}  // namespace farpage
