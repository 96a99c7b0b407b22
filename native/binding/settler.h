// Promises that native threads settle.
#pragma once

#include <napi.h>

#include <functional>

namespace farpage::binding {

// A promise that a native thread settles. The thread-safe function keeps the process alive until
// then; when the environment ends first, the answer is dropped with it.
class Settler {
 public:
  using Make = std::function<Napi::Value(Napi::Env)>;

  Settler(Napi::Env env, const char* name)
      : deferred_(Napi::Promise::Deferred::New(env)),
        call_(Napi::ThreadSafeFunction::New(
            env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), name, 0, 1)) {}

  [[nodiscard]] Napi::Promise promise() const { return deferred_.Promise(); }

  // Thread: any, once.
  void Settle(bool resolved, Make make) {
    auto deferred = deferred_;
    call_.NonBlockingCall([deferred, resolved, make](Napi::Env env, Napi::Function) {
      if (env == nullptr) return;
      Napi::HandleScope scope(env);
      if (resolved) {
        deferred.Resolve(make(env));
      } else {
        deferred.Reject(make(env));
      }
    });
    call_.Release();
  }

 private:
  Napi::Promise::Deferred deferred_;
  Napi::ThreadSafeFunction call_;
};

}  // namespace farpage::binding
