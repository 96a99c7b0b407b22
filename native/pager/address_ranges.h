// Which regions have a range of addresses, and which of them were idle longest.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "memory/reservation.h"

namespace farpage {

// Bytes of ranges at one time, at most: three quarters of what a process of 47 address bits has.
inline constexpr uint64_t kMappedBytesMax = uint64_t{96} << 40;
// Ranges are taken from idle regions in batches of at least this part of what is mapped.
inline constexpr uint64_t kParkedPart = 16;

// A clock over regions: one that was used since the hand last passed gets a second chance.
// Thread: one at a time, but for the counters.
class AddressRanges {
 public:
  explicit AddressRanges(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  [[nodiscard]] bool MayFit(uint64_t bytes) const { return bytes <= bytes_max_; }
  [[nodiscard]] bool HasRoom(uint64_t bytes) const {
    return mapped_bytes() <= bytes_max_ && bytes <= bytes_max_ - mapped_bytes();
  }
  // A region that has got a range now. Requires: its memory can be unmapped.
  void Add(const std::shared_ptr<Reservation>& reservation);
  // One that is about to go, if it is here.
  void Remove(const Reservation* reservation);

  // Takes idle regions out, oldest first, until `bytes` or a part of all are free; at least one if
  // there is any. Who cannot be parked after all is added again.
  std::vector<std::shared_ptr<Reservation>> TakeIdle(uint64_t bytes);

  [[nodiscard]] size_t count() const { return entries_.size(); }
  [[nodiscard]] uint64_t mapped_bytes() const {
    return mapped_bytes_.load(std::memory_order_relaxed);
  }

 private:
  struct Entry {
    std::shared_ptr<Reservation> reservation;
    uint64_t operations = 0;  // when the hand last passed
  };
  const uint64_t bytes_max_;
  std::list<Entry> entries_;
  std::atomic<uint64_t> mapped_bytes_{0};
};

}  // namespace farpage
