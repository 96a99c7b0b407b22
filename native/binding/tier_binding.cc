// Tiers: what the pager is given, and pages on their way down and up.
#include "binding/pages_worker.h"
#include "binding/region_arguments.h"
#include "binding/tier_options.h"
#include "stores/compressed_tier.h"
#include "stores/spill_tier.h"
#include "stores/tier_stack.h"

namespace farpage::binding {

Result<std::shared_ptr<TierStack>> OpenTiers(const Napi::Value& list) {
  std::vector<std::unique_ptr<Tier>> tiers;
  if (!list.IsArray()) return std::shared_ptr<TierStack>();
  const auto array = list.As<Napi::Array>();
  if (array.Length() == 0) return std::shared_ptr<TierStack>();
  if (array.Length() > kTiersMax) return Error{Code::kArgument, 0, "too many tiers"};
  for (uint32_t n = 0; n < array.Length(); n++) {
    const Napi::Object options = ObjectOf(array.Get(n));
    const uint64_t capacity = NumberOf(options, "capacityBytes");
    if (TextOf(options, "kind") == "compressed") {
      auto tier = CompressedTier::Create(capacity);
      if (!tier.ok()) return tier.error();
      tiers.push_back(std::move(tier).value());
    } else {
      auto tier = SpillTier::Open(TextOf(options, "directory"), capacity);
      if (!tier.ok()) return tier.error();
      tiers.push_back(std::move(tier).value());
    }
  }
  return std::make_shared<TierStack>(std::move(tiers));
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

Napi::Value RegionDemote(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  if (object->Look() == nullptr) return NoPages(info.Env());
  const PageRun run = RunOf(*object, ObjectOf(info[1]));
  return PagesWorker::Start(info.Env(), object, [run](RegionObject& region) {
    return region.pager->pager.Demote(region.region, run).evicted_pages;
  });
}

Napi::Value RegionPromote(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  if (object->Look() == nullptr) return NoPages(info.Env());
  const PageRun run = RunOf(*object, ObjectOf(info[1]));
  return PagesWorker::Start(info.Env(), object, [run](RegionObject& region) {
    return region.pager->pager.Promote(region.region, run);
  });
}

}  // namespace

void ExportTiers(Napi::Env env, Napi::Object exports) {
  exports.Set("pagerTiers", Napi::Function::New(env, PagerTiers));
  exports.Set("regionDemote", Napi::Function::New(env, RegionDemote));
  exports.Set("regionPromote", Napi::Function::New(env, RegionPromote));
}

}  // namespace farpage::binding
