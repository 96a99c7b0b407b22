#include "binding/objects.h"

namespace farpage::binding {

void PagerObject::Close() {
  if (closed) return;
  closed = true;
  // Regions that were left open: their users may be gone already, their memory must not be.
  while (!regions.empty()) regions.begin()->second->Close();
  pager.Close();
}

RegionObject::RegionObject(std::shared_ptr<PagerObject> owner, std::shared_ptr<Region> opened)
    : pager(std::move(owner)),
      region(std::move(opened)),
      address(reinterpret_cast<uintptr_t>(region->memory->address())) {
  pager->regions.emplace(address, this);
  pager->pager.AddRegion(region);
}

void RegionObject::Close() {
  if (closed) return;
  closed = true;
  region->removed.store(true, std::memory_order_release);
  for (const auto& weak : domains) {
    if (const auto domain = weak.lock()) domain->DeregisterAll(region.get());
  }
  pager->pager.RemoveRegion(region);
  pager->regions.erase(address);
}

void ProtectionDomainObject::Close() {
  if (closed) return;
  closed = true;
  nic->nic->CloseDomain(domain);
  domain->DeregisterAll(nullptr);
}

}  // namespace farpage::binding
