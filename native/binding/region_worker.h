// Work on a region that waits for grace periods, fills, stores or tiers, off the JavaScript thread.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "binding/js_error.h"
#include "binding/objects.h"
#include "binding/settler.h"

namespace farpage::binding {

// Runs on a thread of the pager's own (RequestLanes), none of libuv's, and settles a promise. The
// region, null while it is only reserved, outlives the work: its jobs are counted meanwhile. `make`
// shows what `work` has come to. Rejects as the work fails, and with kQuota and kClosed.
template <typename Outcome>
class RegionWorker {
 public:
  using Work = std::function<Result<Outcome>(Pager&, const std::shared_ptr<Region>&)>;
  using Make = std::function<Napi::Value(Napi::Env, const Outcome&, uint64_t elapsed_ns)>;

  static Napi::Promise Start(Napi::Env env, std::shared_ptr<RegionObject> object, Work work,
                             Make make) {
    auto settler = std::make_shared<Settler>(env, "farpage region");
    const Napi::Promise promise = settler->promise();
    Pager& pager = object->pager->pager;
    RequestLanes& lanes = object->pager->requests;
    const void* whose = object->reservation.get();
    std::shared_ptr<RegionWorker> worker(
        new RegionWorker(std::move(object), std::move(work), std::move(make)));
    const Code refused = lanes.Submit(whose, [worker, settler, &pager] {
      worker->Run(pager);
      Settle(worker, *settler);
    });
    if (refused != Code::kOk) {
      worker->outcome_ = Error{refused, 0, "submit request"};
      worker->Release();
      Settle(worker, *settler);
    }
    return promise;
  }

 private:
  RegionWorker(std::shared_ptr<RegionObject> object, Work work, Make make)
      : object_(std::move(object)), work_(std::move(work)), make_(std::move(make)) {
    if (object_->Look() == nullptr) return;
    region_ = object_->region;
    region_->jobs.fetch_add(1, std::memory_order_acq_rel);
  }

  void Run(Pager& pager) {
    const uint64_t started = NowNs();
    outcome_ = work_(pager, region_);
    elapsed_ns_ = NowNs() - started;
    Release();
  }
  void Release() {
    if (region_ != nullptr) region_->jobs.fetch_sub(1, std::memory_order_acq_rel);
    region_.reset();
  }

  static void Settle(const std::shared_ptr<RegionWorker>& worker, Settler& settler) {
    settler.Settle(worker->outcome_.ok(), [worker](Napi::Env env) -> Napi::Value {
      // What JavaScript's objects hold ends on JavaScript's thread, whoever lets go of this last.
      const auto object = std::move(worker->object_);
      const Work work = std::move(worker->work_);
      const Make make = std::move(worker->make_);
      if (!worker->outcome_.ok()) return MakeJsError(env, worker->outcome_.error()).Value();
      return make(env, worker->outcome_.value(), worker->elapsed_ns_);
    });
  }

  std::shared_ptr<RegionObject> object_;
  std::shared_ptr<Region> region_;
  Work work_;
  Make make_;
  Result<Outcome> outcome_{Error{Code::kAborted, 0, "region work"}};
  uint64_t elapsed_ns_ = 0;
};

// Work that counts pages: the promise is of their number.
inline Napi::Promise StartCounting(Napi::Env env, std::shared_ptr<RegionObject> object,
                                   RegionWorker<uint64_t>::Work work) {
  return RegionWorker<uint64_t>::Start(
      env, std::move(object), std::move(work), [](Napi::Env e, uint64_t pages, uint64_t) {
        return Napi::Number::New(e, static_cast<double>(pages));
      });
}

}  // namespace farpage::binding
