// Ranges of a region whose pages stay in memory.
#include <vector>

#include "binding/region_arguments.h"
#include "binding/region_worker.h"

namespace farpage::binding {
namespace {

Napi::Value PinsOf(Napi::Env env, const RegionObject& object) {
  const std::vector<PageRun> runs = object.reservation->pins->Runs();
  Napi::Array list = Napi::Array::New(env, runs.size());
  for (uint32_t n = 0; n < runs.size(); n++) {
    Napi::Object range = Napi::Object::New(env);
    const uint64_t rest = object.reservation->size_bytes - runs[n].offset_bytes();
    range.Set("offset", static_cast<double>(runs[n].offset_bytes()));
    range.Set("length", static_cast<double>(std::min(runs[n].length_bytes(), rest)));
    list.Set(n, range);
  }
  return list;
}

Napi::Value RegionPins(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  return object == nullptr ? info.Env().Undefined() : PinsOf(info.Env(), *object);
}

Napi::Value RegionPin(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const PageRun run = RunOf(*object, options);
  const bool pinned = FlagOf(options, "pinned");
  const uint64_t own_max = NumberOf(options, "pagesMax", ~uint64_t{0});
  return RegionWorker<bool>::Start(
      info.Env(), object,
      [run, pinned, own_max, pins = object->reservation->pins](
          Pager& pager, const std::shared_ptr<Region>& region) -> Result<bool> {
        const Status done = pager.pinning().Set(*pins, region.get(), run, pinned, own_max);
        if (!done.ok()) return done.error();
        return true;
      },
      [object](Napi::Env env, bool, uint64_t) { return PinsOf(env, *object); });
}

// Before anybody can reach the region. What there is no room for any more is not pinned.
Napi::Value RegionRestorePins(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = ReservedRegion(info);
  if (object == nullptr || !info[1].IsArray()) return env.Undefined();
  const auto ranges = info[1].As<Napi::Array>();
  const uint64_t own_max = NumberOf(ObjectOf(info[2]), "pagesMax", ~uint64_t{0});
  for (uint32_t n = 0; n < ranges.Length(); n++) {
    const Napi::Object range = ObjectOf(ranges.Get(n));
    const uint64_t size = object->reservation->size_bytes;
    const uint64_t offset = std::min(NumberOf(range, "offset"), size);
    const PageRun run = PagesOf(offset, std::min(NumberOf(range, "length"), size - offset));
    (void)object->pager->pager.pinning().Restore(*object->reservation->pins, run, true, own_max);
  }
  return env.Undefined();
}

}  // namespace

void ExportRegionPins(Napi::Env env, Napi::Object exports) {
  exports.Set("regionPin", Napi::Function::New(env, RegionPin));
  exports.Set("regionPins", Napi::Function::New(env, RegionPins));
  exports.Set("regionRestorePins", Napi::Function::New(env, RegionRestorePins));
}

}  // namespace farpage::binding
