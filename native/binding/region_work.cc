// Work on regions that takes a while: promises that settle when it is done.
#include <utility>

#include "binding/js_error.h"
#include "binding/region_arguments.h"
#include "binding/settler.h"

namespace farpage::binding {
namespace {

Napi::Value ReceiptOf(Napi::Env env, const WriteBackReceipt& receipt) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("pagesWritten", Napi::Number::New(env, static_cast<double>(receipt.pages_written)));
  object.Set("bytesWritten", Napi::Number::New(env, static_cast<double>(receipt.bytes_written)));
  object.Set("elapsedNs", Napi::Number::New(env, static_cast<double>(receipt.elapsed_ns)));
  return object;
}

Napi::Value RegionWriteBack(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = ReservedRegion(info);
  if (object == nullptr) return env.Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  if (object->Look() == nullptr) {  // nothing can be dirty
    const auto nothing = Napi::Promise::Deferred::New(env);
    nothing.Resolve(ReceiptOf(env, {}));
    return nothing.Promise();
  }
  auto settler = std::make_shared<Settler>(env, "farpage write-back");
  const Napi::Promise promise = settler->promise();
  object->pager->pager.write_back().Submit(
      object->region, RunOf(*object, options), FlagOf(options, "durable"),
      [settler](Result<WriteBackReceipt> outcome) {
        if (outcome.ok()) {
          const WriteBackReceipt receipt = outcome.value();
          settler->Settle(true, [receipt](Napi::Env e) { return ReceiptOf(e, receipt); });
        } else {
          const Error error = outcome.error();
          settler->Settle(false, [error](Napi::Env e) { return MakeJsError(e, error).Value(); });
        }
      });
  return promise;
}

}  // namespace

void ExportRegionWork(Napi::Env env, Napi::Object exports) {
  exports.Set("regionWriteBack", Napi::Function::New(env, RegionWriteBack));
}

}  // namespace farpage::binding
