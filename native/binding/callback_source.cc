#include "binding/callback_source.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "binding/arguments.h"
#include "binding/caller.h"
#include "binding/js_error.h"
#include "binding/objects.h"

namespace farpage::binding {
namespace {

// Null when the region was closed, or has no such source: nobody waits for the answer.
CallbackStore* StoreOf(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<RegionObject>(info[0]);
  if (object == nullptr || object->closed) return nullptr;
  return object->callback;
}

// The bytes are a copy: JavaScript may keep them, or write to them, for as long as it likes.
Napi::Object RequestOf(Napi::Env env, const CallbackRequest& request, uint64_t now) {
  Napi::Object object = Napi::Object::New(env);
  const auto put = [&](const char* name, double value) {
    object.Set(name, Napi::Number::New(env, value));
  };
  put("id", static_cast<double>(request.id));
  put("offset", static_cast<double>(request.run.offset_bytes()));
  put("length", static_cast<double>(request.length_bytes));
  const uint64_t left = request.deadline_ns > now ? request.deadline_ns - now : 0;
  put("remainingMs", static_cast<double>(left) / 1e6);
  object.Set("background", Napi::Boolean::New(env, request.background));
  if (request.bytes != nullptr) {
    auto bytes = Napi::Uint8Array::New(env, request.length_bytes);
    std::memcpy(bytes.Data(), request.bytes.get(), request.length_bytes);
    object.Set("bytes", bytes);
  }
  return object;
}

Napi::Value RegionTakeRequests(const Napi::CallbackInfo& info) {
  Napi::Array taken = Napi::Array::New(info.Env());
  CallbackStore* store = StoreOf(info);
  if (store == nullptr) return taken;
  const uint64_t now = NowNs();
  uint32_t count = 0;
  for (const CallbackRequest& request : store->Take()) {
    taken.Set(count++, RequestOf(info.Env(), request, now));
  }
  return taken;
}

uint64_t IdOf(const Napi::Value& value) {
  if (!value.IsNumber()) return 0;  // no request has it
  const double number = value.As<Napi::Number>().DoubleValue();
  return number >= 1 && number <= kSafeIntegerMax ? static_cast<uint64_t>(number) : 0;
}

// True: somebody waited, though perhaps not any more, and the bytes were taken as the answer.
Napi::Value RegionAnswerRequest(const Napi::CallbackInfo& info) {
  CallbackStore* store = StoreOf(info);
  if (store == nullptr) return Napi::Boolean::New(info.Env(), false);
  std::span<const std::byte> bytes;
  if (info[2].IsTypedArray()) {
    const auto array = info[2].As<Napi::TypedArray>();
    if (array.TypedArrayType() == napi_uint8_array) {
      const auto view = array.As<Napi::Uint8Array>();
      bytes = {reinterpret_cast<const std::byte*>(view.Data()), view.ByteLength()};
    }
  }
  return Napi::Boolean::New(info.Env(), store->Answer(IdOf(info[1]), bytes));
}

// True: somebody waits.
Napi::Value RegionTellAlive(const Napi::CallbackInfo& info) {
  CallbackStore* store = StoreOf(info);
  return Napi::Boolean::New(info.Env(), store != nullptr && store->TellAlive(IdOf(info[1])));
}

Napi::Value RegionRefuseRequest(const Napi::CallbackInfo& info) {
  CallbackStore* store = StoreOf(info);
  if (store == nullptr) return Napi::Boolean::New(info.Env(), false);
  const std::string name = info[2].IsString() ? info[2].As<Napi::String>().Utf8Value() : "";
  const Error why{CodeOfName(name).value_or(Code::kIo), 0, "the program that supplies the pages"};
  return Napi::Boolean::New(info.Env(), store->Refuse(IdOf(info[1]), why));
}

}  // namespace

std::unique_ptr<CallbackStore> OpenCallbackSource(const Napi::Object& source) {
  auto caller = std::make_shared<Caller>(source.Env(), source.Get("ring").As<Napi::Function>(),
                                         "farpage callback");
  CallbackStoreOptions options;
  options.length_bytes = NumberOf(source, "lengthBytes");
  options.takes_writes = FlagOf(source, "takesWrites");
  options.deadline_ns = std::max<uint64_t>(NumberOf(source, "timeoutMs", 5000), 1) * 1'000'000;
  options.requests_max = static_cast<uint32_t>(std::clamp<uint64_t>(
      NumberOf(source, "requestsMax", options.requests_max), 1, CallbackStore::kRequestsMax));
  options.ring = [caller] { caller->Call(); };
  return std::make_unique<CallbackStore>(std::move(options));
}

void ExportCallbackSource(Napi::Env env, Napi::Object exports) {
  exports.Set("regionTakeRequests", Napi::Function::New(env, RegionTakeRequests));
  exports.Set("regionAnswerRequest", Napi::Function::New(env, RegionAnswerRequest));
  exports.Set("regionTellAlive", Napi::Function::New(env, RegionTellAlive));
  exports.Set("regionRefuseRequest", Napi::Function::New(env, RegionRefuseRequest));
}

}  // namespace farpage::binding
