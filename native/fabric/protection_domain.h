// Protection domains and the memory regions registered in them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "memory/region.h"
#include "memory/reservation.h"
#include "memory/shootdown.h"

namespace farpage {

// Memory regions of one domain, at most, with the removed ones that are still remembered.
inline constexpr size_t kMemoryRegionsMax = 4096;

// A registered range of a region: what an STag names. Offsets on the wire are zero-based in it.
// Immutable after registration.
struct MemoryRegion {
  std::shared_ptr<Region> region;  // null: see removed()
  uint64_t region_offset = 0;
  uint64_t length_bytes = 0;
  bool writable = false;
  uint32_t stag = 0;
  std::shared_ptr<Reservation> reservation;  // of the region, if it was registered by one

  // Gone for good; else a region that is null has to be reached first (FaultHandler::Reach).
  [[nodiscard]] bool removed() const { return region == nullptr && reservation == nullptr; }
};

// Who may touch what. Fabric threads look STags up without a lock in an immutable table; a change
// publishes a new table and frees the old one after a grace period.
// Thread: any, but for Find.
class ProtectionDomain final : public TranslationUser,
                               public std::enable_shared_from_this<ProtectionDomain> {
 public:
  ProtectionDomain(Shootdown& shootdown, uint32_t connections_max)
      : connections_max_(connections_max), shootdown_(shootdown) {
    table_.store(new Table(), std::memory_order_release);
  }
  ~ProtectionDomain() { delete table_.load(std::memory_order_acquire); }
  ProtectionDomain(const ProtectionDomain&) = delete;
  ProtectionDomain& operator=(const ProtectionDomain&) = delete;

  // Registers [region_offset, + length_bytes) of a region; returns its STag, random within the
  // domain. Fails: kBounds, kAccess (writable of a read-only region), kQuota.
  Result<uint32_t> Register(std::shared_ptr<Region> region, uint64_t region_offset,
                            uint64_t length_bytes, bool writable);

  // The same of a reservation, whether its region has been allocated or not: the STag stays the
  // same over that. Requires: a shared pointer holds the domain. Fails: also kRegionRemoved.
  Result<uint32_t> Register(const std::shared_ptr<Reservation>& reservation,
                            uint64_t region_offset, uint64_t length_bytes, bool writable);
  void Lead(std::span<const Translation> changes) override;

  // No operation uses the STag when this returns: one grace period. With `removed` later uses
  // hear that the region was removed, else that there is no such STag. Not in a turn.
  void Deregister(uint32_t stag, bool removed);
  // The same for every memory region of `region`, or for all (null).
  void DeregisterAll(const Region* region);

  // The memory region of an STag or null; valid until the turn ends. Thread: fabric, in a turn.
  [[nodiscard]] const MemoryRegion* Find(uint32_t stag) const {
    const Table* table = table_.load(std::memory_order_acquire);
    if (table->slots.empty()) return nullptr;
    for (uint32_t at = Mix(stag) & table->mask;; at = (at + 1) & table->mask) {
      const Slot& slot = table->slots[at];
      if (slot.memory_region == nullptr) return nullptr;
      if (slot.stag == stag) return slot.memory_region.get();
    }
  }

  // Counts a connection in, unless the domain is closed (kTicket) or full (kQuota).
  Status Enter();
  void Leave() { connections_.fetch_sub(1, std::memory_order_acq_rel); }
  [[nodiscard]] uint32_t connections() const {
    return connections_.load(std::memory_order_acquire);
  }
  void Close() { closed_.store(true, std::memory_order_release); }
  [[nodiscard]] bool closed() const { return closed_.load(std::memory_order_acquire); }

 private:
  struct Slot {
    uint32_t stag = 0;
    std::shared_ptr<const MemoryRegion> memory_region;
  };
  struct Table {
    std::vector<Slot> slots;  // open addressing, at most half full
    uint32_t mask = 0;
  };
  static uint32_t Mix(uint32_t stag) { return (stag * 0x9e3779b1u) >> 16; }
  using Items = std::vector<std::shared_ptr<const MemoryRegion>>;
  [[nodiscard]] Items ItemsLocked() const;
  void PublishLocked(const Items& items);
  void ReplaceLocked(std::unique_ptr<Table> table);
  Result<uint32_t> Insert(MemoryRegion memory_region);

  const uint32_t connections_max_;
  Shootdown& shootdown_;
  std::mutex mutex_;  // one change at a time; never taken by fabric threads in a turn
  std::atomic<const Table*> table_{nullptr};
  std::atomic<uint32_t> connections_{0};
  std::atomic<bool> closed_{false};
};

}  // namespace farpage
