// Work on a region that waits for grace periods and fills, off the JavaScript thread.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "binding/objects.h"

namespace farpage::binding {

// Runs on a libuv worker and settles a promise. The region, null while it is only reserved,
// outlives the work: its jobs are counted meanwhile. `make` shows what `work` has come to.
template <typename Outcome>
class RegionWorker final : public Napi::AsyncWorker {
 public:
  using Work = std::function<Result<Outcome>(Pager&, const std::shared_ptr<Region>&)>;
  using Make = std::function<Napi::Value(Napi::Env, const Outcome&, uint64_t elapsed_ns)>;

  static Napi::Promise Start(Napi::Env env, std::shared_ptr<RegionObject> object, Work work,
                             Make make) {
    auto* worker =
        new RegionWorker(env, std::move(object), std::move(work), std::move(make));
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }
  ~RegionWorker() override { Release(); }

  void Execute() override {
    const uint64_t started = NowNs();
    outcome_ = work_(object_->pager->pager, region_);
    elapsed_ns_ = NowNs() - started;
    Release();
  }
  void OnOK() override {
    if (outcome_.ok()) {
      deferred_.Resolve(make_(Env(), outcome_.value(), elapsed_ns_));
    } else {
      deferred_.Reject(MakeJsError(Env(), outcome_.error()).Value());
    }
  }

 private:
  RegionWorker(Napi::Env env, std::shared_ptr<RegionObject> object, Work work, Make make)
      : Napi::AsyncWorker(env, "farpage region"),
        object_(std::move(object)),
        work_(std::move(work)),
        make_(std::move(make)),
        deferred_(Napi::Promise::Deferred::New(env)) {
    if (object_->Look() == nullptr) return;
    region_ = object_->region;
    region_->jobs.fetch_add(1, std::memory_order_acq_rel);
  }
  void Release() {
    if (region_ != nullptr) region_->jobs.fetch_sub(1, std::memory_order_acq_rel);
    region_.reset();
  }

  std::shared_ptr<RegionObject> object_;
  std::shared_ptr<Region> region_;
  const Work work_;
  const Make make_;
  Napi::Promise::Deferred deferred_;
  Result<Outcome> outcome_{Error{Code::kAborted, 0, "region work"}};
  uint64_t elapsed_ns_ = 0;
};

}  // namespace farpage::binding
