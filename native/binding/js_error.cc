#include "binding/js_error.h"

#include <string>

namespace farpage {

Napi::Error MakeJsError(Napi::Env env, const Error& error) {
  std::string message = CodeName(error.code);
  if (error.context[0] != '\0') message += std::string(": ") + error.context;
  Napi::Error made = Napi::Error::New(env, message);
  made.Set("code", Napi::String::New(env, CodeName(error.code)));
  made.Set("errno", Napi::Number::New(env, error.system_errno));
  made.Set("context", Napi::String::New(env, error.context));
  return made;
}

std::optional<Code> CodeOfName(std::string_view name) {
  for (int n = 1; n < static_cast<int>(Code::kCount); n++) {
    if (name == CodeName(static_cast<Code>(n))) return static_cast<Code>(n);
  }
  return std::nullopt;
}

}  // namespace farpage
