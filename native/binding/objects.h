// The native objects that JavaScript holds, with the order in which they end.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "binding/handle.h"
#include "fabric/nic.h"
#include "fabric/remote_store.h"
#include "fabric/remote_tier.h"
#include "pager/pager.h"
#include "pager/request_lanes.h"
#include "stores/callback_store.h"

namespace farpage::binding {

class RegionObject;

// A pager and the regions that live on it, or will.
class PagerObject final : public Closable {
 public:
  static constexpr HandleKind kKind = HandleKind::kPager;
  explicit PagerObject(const Pager::Options& options) : pager(options) {}
  ~PagerObject() override { Close(); }
  void Close() override;

  Pager pager;
  RequestLanes requests;  // that wait for the pager
  std::set<RegionObject*> regions;
  // The tiers of other appliances by their place among the pager's, null for others.
  std::vector<RemoteTier*> tiers_elsewhere;
  bool closed = false;
};

class RegionObject final : public Closable {
 public:
  static constexpr HandleKind kKind = HandleKind::kRegion;
  RegionObject(std::shared_ptr<PagerObject> owner, std::shared_ptr<Reservation> reserved);
  ~RegionObject() override { Close(); }
  // Deregisters it everywhere, ends the pager's work on it, unmaps it. Waits for what is under way
  // at its store, however long that takes.
  void Close() override;
  // The same in two steps: from the first on nobody finds it here, and what it returns has to be
  // given to Pager::EndReservation, on a thread that may wait. Null: somebody has closed it.
  std::shared_ptr<Reservation> BeginClose();

  // The region, or null while it is only reserved: a native thread allocates it when a client
  // first touches it. Null again once it is closed.
  Region* Look();
  // Its virtual address, 0 where it has none now.
  [[nodiscard]] uintptr_t Address();

  std::shared_ptr<PagerObject> pager;
  std::shared_ptr<Reservation> reservation;
  std::shared_ptr<Region> region;  // as Look() found it last
  // The store of its source elsewhere, or null; it lives as long as the region.
  RemoteStore* remote = nullptr;
  // The store that JavaScript supplies, or null; the same.
  CallbackStore* callback = nullptr;
  bool closed = false;
};

// What the allocations of one session are charged to, below the appliance's account.
class AccountObject final : public Closable {
 public:
  static constexpr HandleKind kKind = HandleKind::kAccount;
  explicit AccountObject(std::shared_ptr<AllocationAccount> of) : account(std::move(of)) {}
  void Close() override {}

  std::shared_ptr<AllocationAccount> account;
};

class NicObject final : public Closable {
 public:
  static constexpr HandleKind kKind = HandleKind::kNic;
  NicObject(std::shared_ptr<PagerObject> owner, std::unique_ptr<Nic> started)
      : pager(std::move(owner)), nic(std::move(started)) {}
  ~NicObject() override { Close(); }
  void Close() override { nic->Stop(); }

  std::shared_ptr<PagerObject> pager;
  std::unique_ptr<Nic> nic;
};

class ProtectionDomainObject final : public Closable {
 public:
  static constexpr HandleKind kKind = HandleKind::kProtectionDomain;
  ProtectionDomainObject(std::shared_ptr<NicObject> owner, uint32_t connections_max)
      : nic(std::move(owner)),
        domain(std::make_shared<ProtectionDomain>(nic->pager->pager.shootdown(),
                                                  connections_max)) {}
  ~ProtectionDomainObject() override { Close(); }
  void Close() override;

  std::shared_ptr<NicObject> nic;
  std::shared_ptr<ProtectionDomain> domain;
  bool closed = false;
};

class MemoryRegionObject final : public Closable {
 public:
  static constexpr HandleKind kKind = HandleKind::kMemoryRegion;
  MemoryRegionObject(std::shared_ptr<ProtectionDomain> in, uint32_t number, uint64_t length,
                     bool may_write)
      : domain(std::move(in)), stag(number), length_bytes(length), writable(may_write) {}
  void Close() override {
    if (!closed) domain->Deregister(stag, false);
    closed = true;
  }
  // It belongs to its domain: clients go on using what JavaScript has let go of.
  void Abandon() override {}

  std::shared_ptr<ProtectionDomain> domain;
  uint32_t stag;
  uint64_t length_bytes;
  bool writable;
  bool closed = false;
};

// Registration of each file's functions with the addon.
void ExportPager(Napi::Env env, Napi::Object exports);
void ExportRegionOpen(Napi::Env env, Napi::Object exports);
void ExportRegionStats(Napi::Env env, Napi::Object exports);
void ExportRegionWork(Napi::Env env, Napi::Object exports);
void ExportProvenance(Napi::Env env, Napi::Object exports);
void ExportPrefetch(Napi::Env env, Napi::Object exports);
void ExportJournal(Napi::Env env, Napi::Object exports);
void ExportRegionIndicators(Napi::Env env, Napi::Object exports);
void ExportRegionPins(Napi::Env env, Napi::Object exports);
void ExportWorkingSet(Napi::Env env, Napi::Object exports);
void ExportNic(Napi::Env env, Napi::Object exports);
void ExportTiers(Napi::Env env, Napi::Object exports);
void ExportSystem(Napi::Env env, Napi::Object exports);

}  // namespace farpage::binding
