// What the region access unit asks for: permissions of ranges, and pages that are to be absent.
#include <string_view>
#include <utility>
#include <vector>

#include "binding/region_arguments.h"
#include "binding/region_worker.h"

namespace farpage::binding {
namespace {

Permission PermissionOf(std::string_view name) {
  if (name == "none") return Permission::kNone;
  return name == "read" ? Permission::kRead : Permission::kReadWrite;
}

const char* NameOf(Permission permission) {
  switch (permission) {
    case Permission::kNone: return "none";
    case Permission::kRead: return "read";
    case Permission::kReadWrite: break;
  }
  return "read-write";
}

Napi::Value RangesOf(Napi::Env env, const RegionObject& object) {
  const std::vector<ProtectedRange> ranges = object.reservation->protection->Ranges();
  Napi::Array list = Napi::Array::New(env, ranges.size());
  for (uint32_t n = 0; n < ranges.size(); n++) {
    Napi::Object range = Napi::Object::New(env);
    const PageRun run = ranges[n].run;
    const uint64_t rest = object.reservation->size_bytes - run.offset_bytes();
    range.Set("offset", static_cast<double>(run.offset_bytes()));
    range.Set("length", static_cast<double>(std::min(run.length_bytes(), rest)));
    range.Set("access", NameOf(ranges[n].permission));
    list.Set(n, range);
  }
  return list;
}

Napi::Value RegionProtection(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  return RangesOf(info.Env(), *object);
}

Napi::Value RegionProtect(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const PageRun run = RunOf(*object, options);
  const Permission permission = PermissionOf(TextOf(options, "access"));
  return RegionWorker<bool>::Start(
      info.Env(), object,
      [run, permission, reservation = object->reservation](
          Pager& pager, const std::shared_ptr<Region>&) -> Result<bool> {
        const Status done = pager.indicators().Protect(*reservation, run, permission);
        if (!done.ok()) return done.error();
        return true;
      },
      [object](Napi::Env env, bool, uint64_t) { return RangesOf(env, *object); });
}

// Before anybody can reach the region, so nothing is waited for.
Napi::Value RegionRestoreProtection(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = ReservedRegion(info);
  if (object == nullptr || !info[1].IsArray()) return env.Undefined();
  const auto ranges = info[1].As<Napi::Array>();
  for (uint32_t n = 0; n < ranges.Length(); n++) {
    const Napi::Object range = ObjectOf(ranges.Get(n));
    const PageRun run =
        PagesOf(NumberOf(range, "offset"),
                std::min(NumberOf(range, "length"), object->reservation->size_bytes));
    const Status done = object->pager->pager.indicators().Protect(
        *object->reservation, run, PermissionOf(TextOf(range, "access")));
    if (!done.ok()) return Throw(env, done.error());
  }
  return env.Undefined();
}

Napi::Value ReceiptOf(Napi::Env env, const Invalidation& done, uint64_t elapsed_ns) {
  Napi::Object receipt = Napi::Object::New(env);
  receipt.Set("pages", static_cast<double>(done.pages));
  receipt.Set("dirtyPages", static_cast<double>(done.dirty_pages));
  receipt.Set("pinnedPages", static_cast<double>(done.pinned_pages));
  receipt.Set("busyPages", static_cast<double>(done.busy_pages));
  receipt.Set("shootdownNs", static_cast<double>(done.shootdown_ns));
  receipt.Set("elapsedNs", static_cast<double>(elapsed_ns));
  return receipt;
}

using Rule = Invalidation (*)(Pager&, const std::shared_ptr<Region>&, PageRun, DirtyRule);

Napi::Value StartForgetting(const Napi::CallbackInfo& info, Rule forget) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const PageRun run = RunOf(*object, options);
  const std::string named = TextOf(options, "dirty");
  const DirtyRule rule = named == "discard" ? DirtyRule::kDiscard
                         : named == "keep"  ? DirtyRule::kKeep
                                            : DirtyRule::kRefuse;
  return RegionWorker<Invalidation>::Start(
      info.Env(), object,
      [run, rule, forget](Pager& pager, const std::shared_ptr<Region>& region)
          -> Result<Invalidation> {
        if (region == nullptr) return Invalidation{};  // nothing of it is present
        return forget(pager, region, run, rule);
      },
      ReceiptOf);
}

Napi::Value RegionInvalidate(const Napi::CallbackInfo& info) {
  return StartForgetting(info, [](Pager& pager, const std::shared_ptr<Region>& region, PageRun run,
                                  DirtyRule rule) {
    return pager.indicators().Invalidate(region, run, rule);
  });
}

Napi::Value RegionReclaim(const Napi::CallbackInfo& info) {
  return StartForgetting(info, [](Pager& pager, const std::shared_ptr<Region>& region, PageRun run,
                                  DirtyRule rule) {
    return pager.indicators().Reclaim(region, run, rule);
  });
}

}  // namespace

void ExportRegionIndicators(Napi::Env env, Napi::Object exports) {
  exports.Set("regionProtect", Napi::Function::New(env, RegionProtect));
  exports.Set("regionProtection", Napi::Function::New(env, RegionProtection));
  exports.Set("regionRestoreProtection", Napi::Function::New(env, RegionRestoreProtection));
  exports.Set("regionInvalidate", Napi::Function::New(env, RegionInvalidate));
  exports.Set("regionReclaim", Napi::Function::New(env, RegionReclaim));
}

}  // namespace farpage::binding
