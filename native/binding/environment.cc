#include "binding/environment.h"

namespace farpage::binding {

void Environment::Install(Napi::Env env) {
  auto environment = std::make_shared<Environment>();
  // Handles share it: their finalisers may run after the instance data has gone.
  env.SetInstanceData<std::shared_ptr<Environment>>(
      new std::shared_ptr<Environment>(environment));
  env.AddCleanupHook([environment] { environment->CloseAll(); });
}

std::shared_ptr<Environment> Environment::Of(Napi::Env env) {
  return *env.GetInstanceData<std::shared_ptr<Environment>>();
}

void Environment::CloseAll() {
  while (!closers_.empty()) {
    auto newest = std::prev(closers_.end());
    auto close = std::move(newest->second);
    closers_.erase(newest);
    close();
  }
}

}  // namespace farpage::binding
