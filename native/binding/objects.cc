#include "binding/objects.h"

namespace farpage::binding {

void PagerObject::Close() {
  if (closed) return;
  closed = true;
  // Regions that were left open: their users may be gone already, their memory must not be.
  while (!regions.empty()) (*regions.begin())->Close();
  requests.Close();
  pager.Close();
  tiers_elsewhere.clear();
  pager.UseTiers(nullptr);  // and with it the connections to other appliances
}

RegionObject::RegionObject(std::shared_ptr<PagerObject> owner,
                           std::shared_ptr<Reservation> reserved)
    : pager(std::move(owner)), reservation(std::move(reserved)) {
  pager->regions.insert(this);
}

Region* RegionObject::Look() {
  if (region == nullptr) region = reservation->region();
  return region.get();
}

uintptr_t RegionObject::Address() {
  if (closed || Look() == nullptr) return 0;
  return reinterpret_cast<uintptr_t>(region->memory->address());
}

void RegionObject::Close() {
  if (const auto ending = BeginClose()) pager->pager.EndReservation(ending);
}

std::shared_ptr<Reservation> RegionObject::BeginClose() {
  if (closed) return nullptr;
  closed = true;
  pager->regions.erase(this);
  // The handle may live until JavaScript next collects; the files of its memory must not.
  region.reset();
  return reservation;
}

void ProtectionDomainObject::Close() {
  if (closed) return;
  closed = true;
  nic->nic->CloseDomain(domain);
  domain->DeregisterAll(nullptr);
}

}  // namespace farpage::binding
