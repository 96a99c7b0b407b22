// A region that has been promised: what it will be, and once somebody has touched it, the region.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/result.h"
#include "memory/allocation_account.h"
#include "memory/region.h"

namespace farpage {

class Reservation;

// Where the STags of a reservation lead from now on.
struct Translation {
  const Reservation* reservation = nullptr;
  std::shared_ptr<Region> region;  // null: nowhere yet, the next use asks for it
  bool ended = false;              // nowhere any more
};

// Somebody who has STags of reservations: a protection domain.
class TranslationUser {
 public:
  // No operation uses what was before when this returns: one grace period. Not in a turn.
  virtual void Lead(std::span<const Translation> changes) = 0;

 protected:
  ~TranslationUser() = default;
};

// Until the region is allocated there is no descriptor, no mapping and no charge, only this: what
// to open, decided beforehand, so that the first touch asks nobody (and no JavaScript). The region
// that was allocated stays the same until the reservation ends. Thread: any.
class Reservation : public std::enable_shared_from_this<Reservation> {
 public:
  using Opener = std::function<Result<std::shared_ptr<Region>>()>;

  // How far it is; kept by the region allocator, under its lock.
  enum class Stage : uint8_t {
    kReserved,   // not allocated, or without its range of addresses
    kQueued,     // a thread will see to it
    kChanging,   // a thread sees to it
    kReachable,  // its STags lead to the region
    kEnded,
  };

  // `open` allocates the region: it may block, is called by one thread at a time and again after
  // it failed. `account`, if any, is charged with the size before. The region has `permits`.
  Reservation(uint64_t size, bool may_write, std::shared_ptr<AllocationAccount> charged,
              Opener open, std::shared_ptr<Protection> permits = std::make_shared<Protection>())
      : size_bytes(size),
        writable(may_write),
        account(std::move(charged)),
        protection(std::move(permits)),
        open_(std::move(open)) {}

  // Allocates it; kQuota when an account has no room. `ranges` is who gives it its range again, if
  // that is ever taken. Thread: the region allocator's.
  Status Allocate(RangeKeeper* ranges);

  // The region, null until it has been allocated.
  [[nodiscard]] std::shared_ptr<Region> region() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return region_;
  }
  // The same, and from here on there is none. Requires: its STags have ended.
  [[nodiscard]] std::shared_ptr<Region> TakeRegion() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::move(region_);
  }
  [[nodiscard]] uint64_t allocated_bytes() const {
    return region() == nullptr ? 0 : size_bytes;
  }

  // Adds STags: `enter` is told where they lead now, and no change comes in between. Fails:
  // kRegionRemoved, and as `enter` does. Not in a turn.
  Result<uint32_t> Enter(
      std::weak_ptr<TranslationUser> user,
      const std::function<Result<uint32_t>(const std::shared_ptr<Region>&)>& enter);

  // All its STags lead to `region`, null for nowhere yet, when this returns. Not in a turn.
  void Lead(const std::shared_ptr<Region>& region);

  // Those of many lead nowhere: one grace period for each user, not for each of them. Not in a
  // turn.
  static void LeadNowhere(std::span<const std::shared_ptr<Reservation>> reservations);

  // Its STags end, none begin any more. Not in a turn.
  void End();

  const uint64_t size_bytes;
  const bool writable;
  const std::shared_ptr<AllocationAccount> account;
  const std::shared_ptr<Protection> protection;
  const std::shared_ptr<Pins> pins = std::make_shared<Pins>();
  Stage stage = Stage::kReserved;
  // Why the last try to reach it failed.
  std::atomic<Code> failure{Code::kOk};

 private:
  void Tell(const Translation& change);

  const Opener open_;
  std::mutex lead_mutex_;  // held over grace periods, so never taken by a thread with turns
  std::vector<std::weak_ptr<TranslationUser>> users_;
  std::shared_ptr<Region> leads_to_;
  bool ended_ = false;
  mutable std::mutex mutex_;  // guards region_
  std::shared_ptr<Region> region_;
};

}  // namespace farpage
