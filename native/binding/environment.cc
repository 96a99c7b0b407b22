#include "binding/environment.h"

namespace farpage::binding {

void Environment::Install(Napi::Env env) {
  auto* environment = new Environment();
  env.SetInstanceData<Environment>(environment);
  // Runs before the instance data is deleted: cleanup hooks run last-in, first-out.
  env.AddCleanupHook([environment] { environment->CloseAll(); });
}

Environment& Environment::Of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

void Environment::CloseAll() {
  while (!closers_.empty()) {
    auto newest = std::prev(closers_.end());
    auto close = std::move(newest->second);
    closers_.erase(newest);
    close();
  }
}

}  // namespace farpage::binding
