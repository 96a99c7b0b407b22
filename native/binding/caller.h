// A JavaScript function that native threads call.
#pragma once

#include <napi.h>

namespace farpage::binding {

// Any thread may call it without waiting; it takes no arguments, does not keep the process alive,
// and is released with its last owner. Calls of an ended environment are dropped.
class Caller {
 public:
  Caller(Napi::Env env, Napi::Function function, const char* name)
      : call_(Napi::ThreadSafeFunction::New(env, function, name, 0, 1)) {
    call_.Unref(env);
  }
  ~Caller() { call_.Release(); }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  void Call() {
    call_.NonBlockingCall([](Napi::Env env, Napi::Function function) {
      if (env != nullptr) function.Call({});
    });
  }

 private:
  Napi::ThreadSafeFunction call_;
};

}  // namespace farpage::binding
