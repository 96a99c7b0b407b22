// What one JavaScript environment (the main thread or a worker) holds open.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

namespace farpage::binding {

// All state is per environment, none per process: a worker may come and go. Whatever is still
// open when the environment ends is closed then, newest first, so that threads are joined before
// what they use is freed. Thread: the environment's own.
class Environment {
 public:
  // Made once per environment when the addon is loaded; frees itself with the environment.
  static void Install(Napi::Env env);
  static std::shared_ptr<Environment> Of(Napi::Env env);

  // Remembers how to close something; returns a key for Forget.
  uint64_t Add(std::function<void()> close) {
    closers_.emplace(++last_, std::move(close));
    return last_;
  }
  void Forget(uint64_t key) { closers_.erase(key); }

 private:
  void CloseAll();
  std::map<uint64_t, std::function<void()>> closers_;
  uint64_t last_ = 0;
};

}  // namespace farpage::binding
