// Native objects as opaque, type-tagged JavaScript objects.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/environment.h"
#include "binding/js_error.h"

namespace farpage::binding {

// What a handle can be. The tag's upper half is random per load, so that neither a forged object
// nor one of another copy of the addon passes.
enum class HandleKind : uint64_t {
  kPager = 1,
  kRegion,
  kNic,
  kProtectionDomain,
  kMemoryRegion,
  kAccount,
  kPrefetch,
};
napi_type_tag TagOf(HandleKind kind);

// Something with an idempotent Close().
class Closable {
 public:
  virtual ~Closable() = default;
  virtual void Close() = 0;
  // The handle was collected: nobody can close it any more, so it closes itself, unless it
  // belongs to something that will.
  virtual void Abandon() { Close(); }
};

// Wraps `object`; it is closed when the environment ends, and abandoned when the handle is
// collected.
Napi::Value MakeHandle(Napi::Env env, HandleKind kind, std::shared_ptr<Closable> object);

// The object behind a handle, or null with an ERR_ARGUMENT pending.
std::shared_ptr<Closable> FromHandle(Napi::Value value, HandleKind kind);

template <typename T>
std::shared_ptr<T> Unwrap(Napi::Value value) {
  return std::static_pointer_cast<T>(FromHandle(value, T::kKind));
}

}  // namespace farpage::binding
