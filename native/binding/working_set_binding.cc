// Working sets: what was used, told as runs of pages, and brought back.
#include <vector>

#include "binding/region_arguments.h"
#include "binding/region_worker.h"
#include "pager/working_set.h"

namespace farpage::binding {
namespace {

Napi::Value SetOf(Napi::Env env, const WorkingSet& found) {
  const size_t count = found.hot.size() + found.warm.size();
  auto runs = Napi::Float64Array::New(env, 2 * count);
  size_t at = 0;
  for (const auto* part : {&found.hot, &found.warm}) {
    for (const PageRun& run : *part) {
      runs[at++] = static_cast<double>(run.first);
      runs[at++] = static_cast<double>(run.count);
    }
  }
  Napi::Object set = Napi::Object::New(env);
  set.Set("hotRuns", static_cast<double>(found.hot.size()));
  set.Set("runs", runs);
  return set;
}

Napi::Value RegionWorkingSet(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const uint64_t within_ms = NumberOf(ObjectOf(info[1]), "withinMs", ~uint64_t{0});
  return RegionWorker<WorkingSet>::Start(
      info.Env(), object,
      [within_ms](Pager& pager, const std::shared_ptr<Region>& region) -> Result<WorkingSet> {
        if (region == nullptr) return WorkingSet{};  // nobody has used it
        return pager.WorkingSetOf(*region, within_ms);
      },
      [](Napi::Env env, const WorkingSet& found, uint64_t) { return SetOf(env, found); });
}

}  // namespace

std::vector<PageRun> RunsOf(const Napi::Value& value) {
  std::vector<PageRun> runs;
  if (!value.IsTypedArray() ||
      value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) {
    return runs;
  }
  const auto pairs = value.As<Napi::Float64Array>();
  for (size_t n = 0; n + 1 < pairs.ElementLength() && n < 2 * kWorkingSetRunsMax; n += 2) {
    const double first = pairs[n];
    const double count = pairs[n + 1];
    if (first >= 0 && first < kSafeIntegerMax && count > 0 && count < kSafeIntegerMax) {
      runs.push_back({static_cast<uint64_t>(first), static_cast<uint64_t>(count)});
    }
  }
  return runs;
}

void ExportWorkingSet(Napi::Env env, Napi::Object exports) {
  exports.Set("regionWorkingSet", Napi::Function::New(env, RegionWorkingSet));
}

}  // namespace farpage::binding
