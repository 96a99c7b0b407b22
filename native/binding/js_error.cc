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

}  // namespace farpage
