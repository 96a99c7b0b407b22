// Tiers: what the pager is given, and pages on their way down and up.
#include <array>

#include "binding/arguments.h"
#include "binding/caller.h"
#include "binding/js_error.h"
#include "binding/region_worker.h"
#include "binding/region_arguments.h"
#include "binding/remote_source.h"
#include "binding/tier_options.h"
#include "stores/compressed_tier.h"
#include "stores/spill_tier.h"
#include "stores/tier_stack.h"

namespace farpage::binding {

namespace {

std::unique_ptr<RemoteTier> OpenAppliance(const Napi::Object& options) {
  auto caller = std::make_shared<Caller>(
      options.Env(), options.Get("needDoor").As<Napi::Function>(), "farpage tier");
  RemoteTierOptions native;
  native.pool = TextOf(options, "pool");
  native.capacity_bytes = NumberOf(options, "capacityBytes");
  native.need_door = [caller] { caller->Call(); };
  return std::make_unique<RemoteTier>(std::move(native));
}

Result<std::unique_ptr<Tier>> OpenTier(const Napi::Object& options) {
  const uint64_t capacity = NumberOf(options, "capacityBytes");
  if (TextOf(options, "kind") == "compressed") {
    auto tier = CompressedTier::Create(capacity);
    if (!tier.ok()) return tier.error();
    return std::unique_ptr<Tier>(std::move(tier).value());
  }
  const std::string directory = TextOf(options, "directory");
  auto tier = options.Get("later").ToBoolean().Value() ? SpillTier::Later(directory, capacity)
                                                       : SpillTier::Open(directory, capacity);
  if (!tier.ok()) return tier.error();
  return std::unique_ptr<Tier>(std::move(tier).value());
}

}  // namespace

Result<OpenedTiers> OpenTiers(const Napi::Value& list) {
  OpenedTiers opened;
  if (!list.IsArray()) return opened;
  const auto array = list.As<Napi::Array>();
  if (array.Length() == 0) return opened;
  if (array.Length() > kTiersMax) return Error{Code::kArgument, 0, "too many tiers"};
  std::vector<std::unique_ptr<Tier>> tiers;
  for (uint32_t n = 0; n < array.Length(); n++) {
    const Napi::Object options = ObjectOf(array.Get(n));
    opened.appliances.push_back(nullptr);
    if (TextOf(options, "kind") == "appliance") {
      auto tier = OpenAppliance(options);
      opened.appliances.back() = tier.get();
      tiers.push_back(std::move(tier));
      continue;
    }
    auto tier = OpenTier(options);
    if (!tier.ok()) return tier.error();
    tiers.push_back(std::move(tier).value());
  }
  opened.stack = std::make_shared<TierStack>(std::move(tiers));
  return opened;
}

namespace {

Napi::Value PagerTiers(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = Unwrap<PagerObject>(info[0]);
  if (object == nullptr) return env.Undefined();
  const TierStack* stack = object->pager.tiers();
  Napi::Array found = Napi::Array::New(env);
  for (uint32_t n = 0; stack != nullptr && n < stack->size(); n++) {
    const Tier& tier = stack->tier(n);
    const TierStats stats = stack->stats(n);
    Napi::Object one = Napi::Object::New(env);
    const auto put = [&](const char* name, uint64_t value) {
      one.Set(name, Napi::Number::New(env, static_cast<double>(value)));
    };
    one.Set("kind", tier.kind());
    if (const RemoteTier* appliance = object->tiers_elsewhere[n]) {
      static constexpr std::array kStates = {"connecting", "connected", "away"};
      const RemotePool& connection = appliance->connection();
      one.Set("pool", appliance->pool());
      one.Set("state", kStates[static_cast<size_t>(connection.state())]);
      one.Set("reason", CodeName(connection.reason()));
    }
    put("capacityBytes", tier.capacity_bytes());
    put("usedBytes", tier.used_bytes());
    put("pages", tier.pages());
    put("storedPages", stats.stored_pages);
    put("loadedPages", stats.loaded_pages);
    put("demotedPages", stats.demoted_pages);
    put("lostPages", stats.lost_pages);
    found.Set(n, one);
  }
  return found;
}

Napi::Value CanSpillTo(const Napi::CallbackInfo& info) {
  const bool text = info[0].IsString();
  return Napi::Boolean::New(info.Env(),
                            text && SpillTier::CanOpen(info[0].As<Napi::String>().Utf8Value()));
}

RemoteTier* TierOf(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<PagerObject>(info[0]);
  if (object == nullptr || object->closed || !info[1].IsNumber()) return nullptr;
  const uint32_t index = info[1].As<Napi::Number>().Uint32Value();
  return index < object->tiers_elsewhere.size() ? object->tiers_elsewhere[index] : nullptr;
}

// Nothing when the pager was closed meanwhile: nobody waits for the door any more.
void TierOpenDoor(const Napi::CallbackInfo& info) {
  RemoteTier* tier = TierOf(info);
  if (tier == nullptr) return;
  const Napi::Object from = ObjectOf(info[2]);
  const Napi::Value fresh = from.Get("fresh");
  tier->Open({DoorOf(from), NumberOf(from, "lengthBytes"), fresh.ToBoolean().Value()});
}

void TierRefuseDoor(const Napi::CallbackInfo& info) {
  RemoteTier* tier = TierOf(info);
  if (tier == nullptr) return;
  const std::string name = info[2].IsString() ? info[2].As<Napi::String>().Utf8Value() : "";
  tier->Refuse({CodeOfName(name).value_or(Code::kInternal), 0, "the pool of this tier"});
}

// Runs as [offset, length] in bytes, and the pool that they are of.
Napi::Value TierTakeFreed(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  RemoteTier* tier = TierOf(info);
  RemoteTier::Freed freed;
  if (tier != nullptr) freed = tier->TakeFreed(info[2].ToBoolean().Value());
  Napi::Object told = Napi::Object::New(env);
  Napi::Array runs = Napi::Array::New(env, freed.runs.size());
  for (uint32_t n = 0; n < freed.runs.size(); n++) {
    Napi::Array run = Napi::Array::New(env, 2);
    run.Set(0u, static_cast<double>(freed.runs[n].offset_bytes()));
    run.Set(1u, static_cast<double>(freed.runs[n].length_bytes()));
    runs.Set(n, run);
  }
  told.Set("pool", static_cast<double>(freed.pool));
  told.Set("runs", runs);
  return told;
}

void TierEndFreed(const Napi::CallbackInfo& info) {
  RemoteTier* tier = TierOf(info);
  if (tier == nullptr) return;
  const auto pool = static_cast<uint64_t>(info[2].ToNumber().Int64Value());
  tier->EndFreed(pool, info[3].ToBoolean().Value());
}

Napi::Value RegionDemote(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const PageRun run = RunOf(*object, ObjectOf(info[1]));
  const uint64_t age_ns = NumberOf(ObjectOf(info[1]), "coldMs") * 1'000'000;
  return RegionWorker<EvictionResult>::Start(
      info.Env(), object,
      [run, age_ns](Pager& pager, const std::shared_ptr<Region>& region) -> Result<EvictionResult> {
        if (region == nullptr) return EvictionResult{};  // nothing of it is present
        return pager.Demote(region, run, age_ns);
      },
      [](Napi::Env env, const EvictionResult& done, uint64_t) {
        Napi::Object receipt = Napi::Object::New(env);
        receipt.Set("pages", static_cast<double>(done.evicted_pages));
        receipt.Set("pinnedPages", static_cast<double>(done.pinned_pages));
        return receipt;
      });
}

Napi::Value RegionPromote(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const PageRun run = RunOf(*object, ObjectOf(info[1]));
  return StartCounting(info.Env(), object,
                       [run](Pager& pager, const std::shared_ptr<Region>& region) {
                         // While it is only reserved nothing of it is in a tier.
                         return region == nullptr ? uint64_t{0} : pager.Promote(region, run);
                       });
}

}  // namespace

void ExportTiers(Napi::Env env, Napi::Object exports) {
  exports.Set("canSpillTo", Napi::Function::New(env, CanSpillTo));
  exports.Set("pagerTiers", Napi::Function::New(env, PagerTiers));
  exports.Set("tierOpenDoor", Napi::Function::New(env, TierOpenDoor));
  exports.Set("tierRefuseDoor", Napi::Function::New(env, TierRefuseDoor));
  exports.Set("tierTakeFreed", Napi::Function::New(env, TierTakeFreed));
  exports.Set("tierEndFreed", Napi::Function::New(env, TierEndFreed));
  exports.Set("regionDemote", Napi::Function::New(env, RegionDemote));
  exports.Set("regionPromote", Napi::Function::New(env, RegionPromote));
}

}  // namespace farpage::binding
