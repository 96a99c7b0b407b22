#include <algorithm>
#include <cstring>

#include "binding/arguments.h"
#include "binding/objects.h"

namespace farpage::binding {
namespace {

Napi::Value Throw(Napi::Env env, const Error& error) {
  MakeJsError(env, error).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value NicOpen(const Napi::CallbackInfo& info) {
  const auto pager = Unwrap<PagerObject>(info[0]);
  if (pager == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  Nic::Options native;
  native.threads = static_cast<uint32_t>(NumberOf(options, "threads", 1));
  native.poll_us = static_cast<uint32_t>(NumberOf(options, "pollUs", 50));
  native.connections_max = static_cast<uint32_t>(NumberOf(options, "connectionsMax", 1024));
  // All windows together stay below a quarter of the budget while few requests fault at once.
  const uint64_t window_bytes = WindowPages(pager->pager.budget().max()) << kPageShift;
  native.window_bytes = std::min(window_bytes, native.window_bytes);
  auto nic = Nic::Start(native, &pager->pager, &pager->pager.shootdown());
  if (!nic.ok()) return Throw(info.Env(), nic.error());
  return MakeHandle(info.Env(), HandleKind::kNic,
                    std::make_shared<NicObject>(pager, std::move(nic).value()));
}

Napi::Value NicListenTcp(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<NicObject>(info[0]);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  auto port = object->nic->ListenTcp(TextOf(options, "host"),
                                     static_cast<uint16_t>(NumberOf(options, "port")));
  if (!port.ok()) return Throw(info.Env(), port.error());
  return Napi::Number::New(info.Env(), port.value());
}

void NicListenUnix(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<NicObject>(info[0]);
  if (object == nullptr) return;
  const std::string path = info[1].IsString() ? info[1].As<Napi::String>().Utf8Value() : "";
  if (Status status = object->nic->ListenUnix(path); !status.ok()) {
    Throw(info.Env(), status.error());
  }
}

Napi::Value NicStats(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<NicObject>(info[0]);
  if (object == nullptr) return info.Env().Undefined();
  Napi::Object stats = Napi::Object::New(info.Env());
  const auto put = [&](const char* name, std::atomic<uint64_t> LoopStats::* field) {
    uint64_t sum = 0;
    for (const auto& loop : object->nic->loops()) {
      sum += (loop->stats().*field).load(std::memory_order_relaxed);
    }
    stats.Set(name, Napi::Number::New(info.Env(), static_cast<double>(sum)));
  };
  put("connections", &LoopStats::connections);
  put("accepted", &LoopStats::accepted);
  put("refused", &LoopStats::refused);
  put("terminated", &LoopStats::terminated);
  put("operations", &LoopStats::operations);
  put("bytesRead", &LoopStats::bytes_read);
  put("bytesWritten", &LoopStats::bytes_written);
  return stats;
}

void NicClose(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<NicObject>(info[0])) object->Close();
}

Napi::Value DomainOpen(const Napi::CallbackInfo& info) {
  const auto nic = Unwrap<NicObject>(info[0]);
  if (nic == nullptr) return info.Env().Undefined();
  const auto connections =
      static_cast<uint32_t>(NumberOf(ObjectOf(info[1]), "connectionsMax", 16));
  return MakeHandle(info.Env(), HandleKind::kProtectionDomain,
                    std::make_shared<ProtectionDomainObject>(nic, connections));
}

// An open domain, or null with an error pending.
std::shared_ptr<ProtectionDomainObject> OpenDomain(const Napi::CallbackInfo& info) {
  auto object = Unwrap<ProtectionDomainObject>(info[0]);
  if (object != nullptr && object->closed) {
    Throw(info.Env(), {Code::kClosed, 0, "the protection domain is closed"});
    return nullptr;
  }
  return object;
}

void DomainAdmit(const Napi::CallbackInfo& info) {
  const auto object = OpenDomain(info);
  if (object == nullptr) return;
  const Napi::Object options = ObjectOf(info[1]);
  const Napi::Value bytes = options.Get("ticket");
  Ticket ticket{};
  if (!bytes.IsTypedArray() ||
      bytes.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
      bytes.As<Napi::Uint8Array>().ByteLength() != ticket.size()) {
    Throw(info.Env(), {Code::kArgument, 0, "a ticket is 16 bytes"});
    return;
  }
  std::memcpy(ticket.data(), bytes.As<Napi::Uint8Array>().Data(), ticket.size());
  object->nic->nic->AddTicket(ticket, object->domain,
                              NumberOf(options, "lifetimeMs", 30'000) * 1'000'000);
}

// The region whose mapping holds [address, + length), or null.
RegionObject* FindRegion(PagerObject& pager, uint64_t address, uint64_t length_bytes) {
  for (RegionObject* region : pager.regions) {
    const uint64_t start = region->Address();
    if (start == 0 || address < start) continue;
    const uint64_t size = region->reservation->size_bytes;
    if (address - start <= size && length_bytes <= size - (address - start)) return region;
  }
  return nullptr;
}

Napi::Value MemoryRegionOf(Napi::Env env, const std::shared_ptr<ProtectionDomain>& domain,
                           const Napi::Object& options, const Result<uint32_t>& stag) {
  if (!stag.ok()) return Throw(env, stag.error());
  Napi::Object result = Napi::Object::New(env);
  const uint64_t length = NumberOf(options, "lengthBytes");
  const bool writable = TextOf(options, "access") == "read-write";
  result.Set("handle", MakeHandle(env, HandleKind::kMemoryRegion,
                                  std::make_shared<MemoryRegionObject>(domain, stag.value(),
                                                                       length, writable)));
  result.Set("stag", Napi::Number::New(env, stag.value()));
  return result;
}

Napi::Value DomainRegister(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = OpenDomain(info);
  if (object == nullptr) return env.Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  bool lossless = false;
  const uint64_t address = options.Get("address").IsBigInt()
                               ? options.Get("address").As<Napi::BigInt>().Uint64Value(&lossless)
                               : 0;
  const uint64_t length = NumberOf(options, "lengthBytes");
  RegionObject* region =
      lossless ? FindRegion(*object->nic->pager, address, length) : nullptr;
  if (region == nullptr) {
    return Throw(env, {Code::kArgument, 0, "no live mapping holds this address range"});
  }
  return MemoryRegionOf(env, object->domain, options,
                        object->domain->Register(region->reservation, address - region->Address(),
                                                 length,
                                                 TextOf(options, "access") == "read-write"));
}

Napi::Value DomainReserve(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = OpenDomain(info);
  if (object == nullptr) return env.Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const auto region = Unwrap<RegionObject>(options.Get("region"));
  if (region == nullptr) return env.Undefined();
  return MemoryRegionOf(env, object->domain, options,
                        object->domain->Register(region->reservation, 0,
                                                 NumberOf(options, "lengthBytes"),
                                                 TextOf(options, "access") == "read-write"));
}

void MemoryRegionDeregister(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<MemoryRegionObject>(info[0])) object->Close();
}

Napi::Value DomainConnections(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<ProtectionDomainObject>(info[0]);
  if (object == nullptr) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), object->domain->connections());
}

void DomainClose(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<ProtectionDomainObject>(info[0])) object->Close();
}

Napi::Value ExportListen(const Napi::CallbackInfo& info) {
  const auto object = OpenDomain(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const auto region = Unwrap<MemoryRegionObject>(options.Get("memoryRegion"));
  if (region == nullptr) return info.Env().Undefined();
  auto description = std::make_shared<const ExportPort>(
      ExportPort{object->domain, region->stag, region->length_bytes, region->writable});
  auto port = object->nic->nic->ListenExport(TextOf(options, "host"),
                                             static_cast<uint16_t>(NumberOf(options, "port")),
                                             std::move(description));
  if (!port.ok()) return Throw(info.Env(), port.error());
  return Napi::Number::New(info.Env(), port.value());
}

}  // namespace

void ExportNic(Napi::Env env, Napi::Object exports) {
  exports.Set("nicOpen", Napi::Function::New(env, NicOpen));
  exports.Set("nicListenTcp", Napi::Function::New(env, NicListenTcp));
  exports.Set("nicListenUnix", Napi::Function::New(env, NicListenUnix));
  exports.Set("nicStats", Napi::Function::New(env, NicStats));
  exports.Set("nicClose", Napi::Function::New(env, NicClose));
  exports.Set("protectionDomainOpen", Napi::Function::New(env, DomainOpen));
  exports.Set("protectionDomainAdmit", Napi::Function::New(env, DomainAdmit));
  exports.Set("protectionDomainRegister", Napi::Function::New(env, DomainRegister));
  exports.Set("protectionDomainReserve", Napi::Function::New(env, DomainReserve));
  exports.Set("memoryRegionDeregister", Napi::Function::New(env, MemoryRegionDeregister));
  exports.Set("protectionDomainConnections", Napi::Function::New(env, DomainConnections));
  exports.Set("protectionDomainClose", Napi::Function::New(env, DomainClose));
  exports.Set("exportListen", Napi::Function::New(env, ExportListen));
}

}  // namespace farpage::binding
