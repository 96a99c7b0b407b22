// Reading arguments that TypeScript has validated: native code asserts again and refuses a lie.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

namespace farpage::binding {

inline constexpr double kSafeIntegerMax = 9007199254740991.0;

// A whole number 0..2^53-1 from a property; `fallback` where it is absent or no such number.
inline uint64_t NumberOf(const Napi::Object& options, const char* name, uint64_t fallback = 0) {
  const Napi::Value value = options.Get(name);
  if (!value.IsNumber()) return fallback;
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= kSafeIntegerMax)) return fallback;
  return static_cast<uint64_t>(number);
}

inline std::string TextOf(const Napi::Object& options, const char* name) {
  const Napi::Value value = options.Get(name);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

inline bool FlagOf(const Napi::Object& options, const char* name) {
  return options.Get(name).ToBoolean().Value();
}

inline Napi::Object ObjectOf(const Napi::Value& value) {
  return value.IsObject() ? value.As<Napi::Object>() : Napi::Object::New(value.Env());
}

}  // namespace farpage::binding
