// The addon's entry: everything of src/native/binding.ts's NativeBinding.
#include <napi.h>

#include "base/error.h"
#include "base/page.h"
#include "base/version.h"
#include "binding/callback_source.h"
#include "binding/environment.h"
#include "binding/objects.h"
#include "binding/remote_source.h"
#include "binding/queue_pair_binding.h"

namespace farpage::binding {
namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  Environment::Install(env);
  exports.Set("bindingVersion", Napi::Number::New(env, kBindingVersion));
  exports.Set("pageBytes", Napi::Number::New(env, static_cast<double>(kPageBytes)));
  Napi::Array codes = Napi::Array::New(env);
  for (uint32_t code = 0; code < static_cast<uint32_t>(Code::kCount); code++) {
    codes.Set(code, Napi::String::New(env, CodeName(static_cast<Code>(code))));
  }
  exports.Set("errorCodes", codes);
  ExportPager(env, exports);
  ExportRemoteSource(env, exports);
  ExportCallbackSource(env, exports);
  ExportRegionOpen(env, exports);
  ExportRegionStats(env, exports);
  ExportRegionWork(env, exports);
  ExportProvenance(env, exports);
  ExportPrefetch(env, exports);
  ExportTiers(env, exports);
  ExportJournal(env, exports);
  ExportRegionIndicators(env, exports);
  ExportRegionPins(env, exports);
  ExportWorkingSet(env, exports);
  ExportNic(env, exports);
  ExportSystem(env, exports);
  ExportQueuePair(env, exports);
  return exports;
}

}  // namespace
}  // namespace farpage::binding

Napi::Object InitFarpage(Napi::Env env, Napi::Object exports) {
  return farpage::binding::Init(env, exports);
}
NODE_API_MODULE(farpage, InitFarpage)
