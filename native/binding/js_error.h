// Failures of the core as JavaScript errors.
#pragma once

#include <napi.h>

#include "base/result.h"

namespace farpage {

// An Error with the properties of `NativeFailure` in src/native/binding.ts: `code` (a key of the
// registry), `errno` and `context`. Thread: the environment's.
Napi::Error MakeJsError(Napi::Env env, const Error& error);

// Makes it the pending exception. Only the outermost frame of a native call does that, and returns.
inline void ThrowJsError(Napi::Env env, const Error& error) {
  MakeJsError(env, error).ThrowAsJavaScriptException();
}

}  // namespace farpage
