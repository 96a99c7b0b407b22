// Work that moves pages of a region and counts them, on a libuv worker.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <utility>

#include "binding/objects.h"

namespace farpage::binding {

// Resolves with the number of pages. The region stays as long as the work is under way.
class PagesWorker final : public Napi::AsyncWorker {
 public:
  using Work = std::function<uint64_t(RegionObject&)>;

  PagesWorker(Napi::Env env, std::shared_ptr<RegionObject> object, Work work)
      : Napi::AsyncWorker(env, "farpage pages"),
        object_(std::move(object)),
        work_(std::move(work)),
        deferred_(Napi::Promise::Deferred::New(env)) {
    object_->region->jobs.fetch_add(1, std::memory_order_acq_rel);
  }
  ~PagesWorker() override {
    if (!executed_) object_->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  // Starts it; it frees itself.
  static Napi::Promise Start(Napi::Env env, std::shared_ptr<RegionObject> object, Work work) {
    auto* worker = new PagesWorker(env, std::move(object), std::move(work));
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }
  void Execute() override {
    pages_ = work_(*object_);
    executed_ = true;
    object_->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  void OnOK() override {
    deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(pages_)));
  }

 private:
  std::shared_ptr<RegionObject> object_;
  Work work_;
  Napi::Promise::Deferred deferred_;
  uint64_t pages_ = 0;
  bool executed_ = false;
};

// A promise of no pages: the region is only reserved.
inline Napi::Promise NoPages(Napi::Env env) {
  const auto nothing = Napi::Promise::Deferred::New(env);
  nothing.Resolve(Napi::Number::New(env, 0));
  return nothing.Promise();
}

}  // namespace farpage::binding
