#include "fabric/protection_domain.h"

#include <sys/random.h>

#include <algorithm>

#include "base/check.h"

namespace farpage {
namespace {

uint32_t RandomStag() {
  uint32_t value = 0;
  FARPAGE_CHECK(::getrandom(&value, sizeof value, 0) == sizeof value, "getrandom must answer");
  return value;
}

// An STag of something that was removed: remembered only to give a better error.
std::shared_ptr<const MemoryRegion> Gone(uint32_t stag) {
  return std::make_shared<const MemoryRegion>(MemoryRegion{nullptr, 0, 0, false, stag, nullptr});
}

}  // namespace

ProtectionDomain::Items ProtectionDomain::ItemsLocked() const {
  Items items;
  for (const Slot& slot : table_.load(std::memory_order_acquire)->slots) {
    if (slot.memory_region != nullptr) items.push_back(slot.memory_region);
  }
  return items;
}

void ProtectionDomain::PublishLocked(const Items& items) {
  auto table = std::make_unique<Table>();
  uint32_t slots = 8;
  while (slots < items.size() * 2) slots *= 2;
  table->slots.resize(slots);
  table->mask = slots - 1;
  for (const auto& item : items) {
    uint32_t at = Mix(item->stag) & table->mask;
    while (table->slots[at].memory_region != nullptr) at = (at + 1) & table->mask;
    table->slots[at] = {item->stag, item};
  }
  ReplaceLocked(std::move(table));
}

void ProtectionDomain::ReplaceLocked(std::unique_ptr<Table> table) {
  const Table* old = table_.exchange(table.release(), std::memory_order_acq_rel);
  shootdown_.WaitGracePeriod();
  delete old;
}

Result<uint32_t> ProtectionDomain::Register(std::shared_ptr<Region> region,
                                            uint64_t region_offset, uint64_t length_bytes,
                                            bool writable) {
  if (region_offset > region->size_bytes || length_bytes > region->size_bytes - region_offset) {
    return Error{Code::kBounds, 0, "register"};
  }
  if (writable && !region->writable) return Error{Code::kAccess, 0, "register"};
  return Insert({std::move(region), region_offset, length_bytes, writable, 0, nullptr});
}

Result<uint32_t> ProtectionDomain::Register(const std::shared_ptr<Reservation>& reservation,
                                            uint64_t region_offset, uint64_t length_bytes,
                                            bool writable) {
  const uint64_t size = reservation->size_bytes;
  if (region_offset > size || length_bytes > size - region_offset) {
    return Error{Code::kBounds, 0, "register"};
  }
  if (writable && !reservation->writable) return Error{Code::kAccess, 0, "register"};
  return reservation->Enter(weak_from_this(), [&](const std::shared_ptr<Region>& region) {
    return Insert({region, region_offset, length_bytes, writable, 0, reservation});
  });
}

Result<uint32_t> ProtectionDomain::Insert(MemoryRegion memory_region) {
  std::lock_guard<std::mutex> lock(mutex_);
  Items items = ItemsLocked();
  if (items.size() >= kMemoryRegionsMax) {
    // The removed ones are remembered only to give a better error.
    std::erase_if(items, [](const auto& item) { return item->removed(); });
    if (items.size() >= kMemoryRegionsMax) return Error{Code::kQuota, 0, "register"};
  }
  uint32_t stag = RandomStag();
  // 0 is what "no STag" looks like in a header; never hand it out.
  while (stag == 0 || std::any_of(items.begin(), items.end(),
                                  [&](const auto& item) { return item->stag == stag; })) {
    stag = RandomStag();
  }
  memory_region.stag = stag;
  items.push_back(std::make_shared<const MemoryRegion>(std::move(memory_region)));
  PublishLocked(items);
  return stag;
}

void ProtectionDomain::Lead(std::span<const Translation> changes) {
  std::lock_guard<std::mutex> lock(mutex_);
  // The STags stay the same, so they stay where they are in the table.
  auto table = std::make_unique<Table>(*table_.load(std::memory_order_acquire));
  bool changed = false;
  for (Slot& slot : table->slots) {
    if (slot.memory_region == nullptr || slot.memory_region->reservation == nullptr) continue;
    const auto change = std::find_if(changes.begin(), changes.end(), [&](const auto& each) {
      return each.reservation == slot.memory_region->reservation.get();
    });
    if (change == changes.end()) continue;
    changed = true;
    if (change->ended) {
      slot.memory_region = Gone(slot.stag);
      continue;
    }
    MemoryRegion next = *slot.memory_region;
    next.region = change->region;
    slot.memory_region = std::make_shared<const MemoryRegion>(std::move(next));
  }
  if (changed) ReplaceLocked(std::move(table));
}

void ProtectionDomain::Deregister(uint32_t stag, bool removed) {
  std::lock_guard<std::mutex> lock(mutex_);
  Items items = ItemsLocked();
  const auto found = std::find_if(items.begin(), items.end(),
                                  [&](const auto& item) { return item->stag == stag; });
  if (found == items.end()) return;
  if (removed) {
    *found = Gone(stag);
  } else {
    items.erase(found);
  }
  PublishLocked(items);
}

void ProtectionDomain::DeregisterAll(const Region* region) {
  std::lock_guard<std::mutex> lock(mutex_);
  Items items = ItemsLocked();
  bool changed = false;
  for (auto& item : items) {
    if (item->removed() || (region != nullptr && item->region.get() != region)) continue;
    item = Gone(item->stag);
    changed = true;
  }
  if (changed) PublishLocked(items);
}

Status ProtectionDomain::Enter() {
  if (closed()) return Error{Code::kTicket, 0, "the session has ended"};
  if (connections_.fetch_add(1, std::memory_order_acq_rel) >= connections_max_) {
    connections_.fetch_sub(1, std::memory_order_acq_rel);
    return Error{Code::kQuota, 0, "connections of the session"};
  }
  return {};
}

}  // namespace farpage
