// Work on regions that takes a while: promises that settle when it is done.
#include <utility>

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

// Waits for a grace period, so on a libuv worker.
class ReclaimWorker final : public Napi::AsyncWorker {
 public:
  ReclaimWorker(Napi::Env env, std::shared_ptr<RegionObject> object, PageRun run)
      : Napi::AsyncWorker(env, "farpage reclaim"),
        object_(std::move(object)),
        run_(run),
        deferred_(Napi::Promise::Deferred::New(env)) {
    object_->region->jobs.fetch_add(1, std::memory_order_acq_rel);
  }
  ~ReclaimWorker() override {
    if (!executed_) object_->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  Napi::Promise promise() { return deferred_.Promise(); }
  void Execute() override {
    pages_ = object_->pager->pager.Reclaim(object_->region, run_);
    executed_ = true;
    object_->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  void OnOK() override {
    deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(pages_)));
  }

 private:
  std::shared_ptr<RegionObject> object_;
  PageRun run_;
  Napi::Promise::Deferred deferred_;
  uint64_t pages_ = 0;
  bool executed_ = false;
};

Napi::Value RegionReclaim(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  if (object->Look() == nullptr) {
    const auto nothing = Napi::Promise::Deferred::New(info.Env());
    nothing.Resolve(Napi::Number::New(info.Env(), 0));
    return nothing.Promise();
  }
  auto* worker = new ReclaimWorker(info.Env(), object, RunOf(*object, ObjectOf(info[1])));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace

void ExportRegionWork(Napi::Env env, Napi::Object exports) {
  exports.Set("regionWriteBack", Napi::Function::New(env, RegionWriteBack));
  exports.Set("regionReclaim", Napi::Function::New(env, RegionReclaim));
}

}  // namespace farpage::binding
