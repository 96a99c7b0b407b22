// Failures of the core as JavaScript errors.
#pragma once

#include <napi.h>

#include <optional>
#include <string_view>

#include "base/result.h"

namespace farpage {

// An Error with the properties of `NativeFailure` in src/native/binding.ts: `code` (a key of the
// registry), `errno` and `context`. Thread: the environment's.
Napi::Error MakeJsError(Napi::Env env, const Error& error);

// The code of a name of the registry; nothing for OK and for names that the core does not know.
std::optional<Code> CodeOfName(std::string_view name);

// Makes it the pending exception. Only the outermost frame of a native call does that, and returns.
inline void ThrowJsError(Napi::Env env, const Error& error) {
  MakeJsError(env, error).ThrowAsJavaScriptException();
}

}  // namespace farpage
