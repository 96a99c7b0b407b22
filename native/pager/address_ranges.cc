#include "pager/address_ranges.h"

#include <algorithm>

namespace farpage {
namespace {

uint64_t OperationsOf(const Region& region) {
  uint64_t operations = 0;
  for (const OperationCounters& lane : region.operations) {
    operations += lane.bypassed.load(std::memory_order_relaxed) +
                  lane.faulted.load(std::memory_order_relaxed);
  }
  return operations;
}

}  // namespace

void AddressRanges::Add(const std::shared_ptr<Reservation>& reservation) {
  entries_.push_back({reservation, OperationsOf(*reservation->region())});
  mapped_bytes_.fetch_add(reservation->size_bytes, std::memory_order_relaxed);
}

void AddressRanges::Remove(const Reservation* reservation) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.reservation.get() == reservation;
  });
  if (found == entries_.end()) return;
  entries_.erase(found);
  mapped_bytes_.fetch_sub(reservation->size_bytes, std::memory_order_relaxed);
}

std::vector<std::shared_ptr<Reservation>> AddressRanges::TakeIdle(uint64_t bytes) {
  const uint64_t wanted = std::max(bytes, mapped_bytes() / kParkedPart);
  const uint64_t before = mapped_bytes();
  std::vector<std::shared_ptr<Reservation>> idle;
  // Once round takes the second chances away; what is used all the while goes when all are.
  const size_t steps = 2 * entries_.size();
  for (size_t step = 0; step < steps && before - mapped_bytes() < wanted; step++) {
    if (entries_.empty()) break;
    Entry entry = std::move(entries_.front());
    entries_.pop_front();
    const uint64_t operations = OperationsOf(*entry.reservation->region());
    const bool last_step = step + 1 == steps && idle.empty();
    if (operations != entry.operations && !last_step) {
      entry.operations = operations;
      entries_.push_back(std::move(entry));
      continue;
    }
    mapped_bytes_.fetch_sub(entry.reservation->size_bytes, std::memory_order_relaxed);
    idle.push_back(std::move(entry.reservation));
  }
  return idle;
}

}  // namespace farpage
