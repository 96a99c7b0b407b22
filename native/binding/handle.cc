#include "binding/handle.h"

#include <sys/random.h>

#include "base/check.h"

namespace farpage::binding {
namespace {

struct Holder {
  std::shared_ptr<Closable> object;
  std::shared_ptr<Environment> environment;
  uint64_t key;
};

uint64_t RandomOfThisLoad() {
  uint64_t value = 0;
  FARPAGE_CHECK(::getrandom(&value, sizeof value, 0) == sizeof value, "getrandom must answer");
  return value;
}

}  // namespace

napi_type_tag TagOf(HandleKind kind) {
  static const uint64_t load = RandomOfThisLoad();
  return {load, static_cast<uint64_t>(kind)};
}

Napi::Value MakeHandle(Napi::Env env, HandleKind kind, std::shared_ptr<Closable> object) {
  Napi::Object handle = Napi::Object::New(env);
  auto environment = Environment::Of(env);
  const uint64_t key = environment->Add([object] { object->Close(); });
  auto* holder = new Holder{object, std::move(environment), key};
  const auto finalize = [](napi_env, void* data, void*) {
    auto* collected = static_cast<Holder*>(data);
    collected->environment->Forget(collected->key);
    collected->object->Abandon();
    delete collected;
  };
  if (napi_wrap(env, handle, holder, finalize, nullptr, nullptr) != napi_ok) {
    delete holder;
    return env.Undefined();
  }
  const napi_type_tag tag = TagOf(kind);
  napi_type_tag_object(env, handle, &tag);
  return handle;
}

std::shared_ptr<Closable> FromHandle(Napi::Value value, HandleKind kind) {
  const Napi::Env env = value.Env();
  const napi_type_tag tag = TagOf(kind);
  bool same = false;
  void* data = nullptr;
  if (!value.IsObject() ||
      napi_check_object_type_tag(env, value.As<Napi::Object>(), &tag, &same) != napi_ok ||
      !same || napi_unwrap(env, value, &data) != napi_ok) {
    MakeJsError(env, Error{Code::kArgument, 0, "not a handle of this kind"})
        .ThrowAsJavaScriptException();
    return nullptr;
  }
  return static_cast<Holder*>(data)->object;
}

}  // namespace farpage::binding
