#include "binding/queue_pair_binding.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "binding/js_error.h"
#include "binding/queue_pair_host.h"

namespace farpage {
namespace {

constexpr uint64_t kMicrosecondNs = 1'000;
constexpr uint64_t kMillisecondNs = 1'000'000;
// Bounds on what JavaScript may ask for, so that no sum of nanoseconds wraps.
constexpr double kSpinUsMax = 1'000'000;
constexpr double kTimeoutUsMax = 1e12;

// Tells our handles from every other object (napi_type_tag_object).
constexpr napi_type_tag kHandleTag = {0x0f4c1c53a7d94b6e, 0x9b2a6c1d5e8f7034};

using HostPointer = std::shared_ptr<QueuePairHost>;

// The host of a handle, or null with a pending exception.
QueuePairHost* HostOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  bool ours = false;
  void* data = nullptr;
  if (info.Length() == 0 || !info[0].IsObject() ||
      napi_check_object_type_tag(env, info[0], &kHandleTag, &ours) != napi_ok || !ours ||
      napi_unwrap(env, info[0], &data) != napi_ok) {
    ThrowJsError(env, {Code::kArgument, 0, "not a queue pair"});
    return nullptr;
  }
  return static_cast<HostPointer*>(data)->get();
}

Napi::Value MakeHandle(Napi::Env env, const HostPointer& host) {
  Napi::Object handle = Napi::Object::New(env);
  auto box = std::make_unique<HostPointer>(host);
  const auto finalize = [](napi_env, void* data, void*) {
    const std::unique_ptr<HostPointer> owned(static_cast<HostPointer*>(data));
    (*owned)->Close();
  };
  if (napi_type_tag_object(env, handle, &kHandleTag) != napi_ok ||
      napi_wrap(env, handle, box.get(), finalize, nullptr, nullptr) != napi_ok) {
    return env.Undefined();
  }
  static_cast<void>(box.release());
  return handle;
}

// An ArrayBuffer over a part of the shared memory, which lives as long as either side needs it.
Napi::Value MakeBuffer(Napi::Env env, const std::shared_ptr<QueuePairMemory>& memory, void* from,
                       size_t bytes) {
  auto* const owner = new std::shared_ptr<QueuePairMemory>(memory);
  return Napi::ArrayBuffer::New(
      env, from, bytes,
      [](Napi::Env, void*, std::shared_ptr<QueuePairMemory>* hint) { delete hint; }, owner);
}

Napi::Value Submit(const Napi::CallbackInfo& info);

// A function of this queue pair alone: it carries its host, where a handle would have to be looked
// at (type tag, wrap) in every call.
Napi::Value MakeSubmit(Napi::Env env, const HostPointer& host) {
  auto* const box = new HostPointer(host);
  Napi::Function submit = Napi::Function::New<Submit>(env, "submit", box);
  submit.AddFinalizer([](Napi::Env, HostPointer* data) { delete data; }, box);
  return submit;
}

Napi::Value MakeQueuePair(Napi::Env env, const HostPointer& host) {
  const std::shared_ptr<QueuePairMemory>& memory = host->memory();
  Napi::Object made = Napi::Object::New(env);
  made.Set("handle", MakeHandle(env, host));
  made.Set("submit", MakeSubmit(env, host));
  made.Set("requests", MakeBuffer(env, memory, memory->requests.get(),
                                  QueuePairHost::kSlots * sizeof(RequestRecord)));
  made.Set("completions", MakeBuffer(env, memory, memory->completions.get(),
                                     (QueuePairHost::kSlots + 1) * sizeof(CompletionRecord)));
  made.Set("staging",
           MakeBuffer(env, memory, memory->staging.get(), QueuePairHost::kStagingBytes));
  made.Set("slots", Napi::Number::New(env, QueuePairHost::kSlots));
  made.Set("depth", Napi::Number::New(env, host->depth()));
  return made;
}

// Dials on a thread of libuv's pool and settles a promise on the JavaScript thread.
class ConnectWorker : public Napi::AsyncWorker {
 public:
  ConnectWorker(Napi::Env env, InitiatorOptions options, uint64_t timeout_ns,
                Napi::Function on_ready)
      : Napi::AsyncWorker(env, "FarpageConnect"),
        deferred_(Napi::Promise::Deferred::New(env)),
        options_(std::move(options)),
        deadline_ns_(NowNs() + timeout_ns),
        on_ready_(Napi::Persistent(on_ready)) {}

  [[nodiscard]] Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    Result<std::unique_ptr<Initiator>> connected = Initiator::Connect(options_, deadline_ns_);
    if (connected.ok()) {
      initiator_ = std::move(connected).value();
    } else {
      error_ = connected.error();
    }
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    if (initiator_ == nullptr) return deferred_.Reject(MakeJsError(Env(), error_).Value());
    Result<HostPointer> host =
        QueuePairHost::Open(Env(), std::move(initiator_), on_ready_.Value());
    if (!host.ok()) return deferred_.Reject(MakeJsError(Env(), host.error()).Value());
    deferred_.Resolve(MakeQueuePair(Env(), host.value()));
  }

 private:
  Napi::Promise::Deferred deferred_;
  InitiatorOptions options_;
  uint64_t deadline_ns_;
  Napi::FunctionReference on_ready_;
  std::unique_ptr<Initiator> initiator_;
  Error error_;
};

// A number property that is a whole number of `least`..`most`.
bool ReadWhole(const Napi::Object& from, const char* name, uint64_t least, uint64_t most,
               uint64_t* value) {
  const Napi::Value property = from.Get(name);
  return property.IsNumber() && ToWhole(property.As<Napi::Number>().DoubleValue(), most, value) &&
         *value >= least;
}

// The ConnectOptions of binding.ts; false when one is missing or out of range.
bool ReadOptions(const Napi::Object& from, InitiatorOptions* options, uint64_t* timeout_ms) {
  const Napi::Value path = from.Get("path");
  const Napi::Value host = from.Get("host");
  const Napi::Value ticket = from.Get("ticket");
  const Napi::Value crc = from.Get("crc");
  if (path.IsString() == host.IsString() || !crc.IsBoolean()) return false;
  if (path.IsString()) {
    options->path = path.As<Napi::String>().Utf8Value();
  } else {
    uint64_t port = 0;
    if (!ReadWhole(from, "port", 1, UINT16_MAX, &port)) return false;
    options->host = host.As<Napi::String>().Utf8Value();
    options->port = static_cast<uint16_t>(port);
  }
  if (!ticket.IsUndefined()) {
    if (!ticket.IsTypedArray()) return false;
    const auto bytes = ticket.As<Napi::Uint8Array>();
    if (bytes.TypedArrayType() != napi_uint8_array || bytes.ByteLength() != sizeof(Ticket)) {
      return false;
    }
    std::memcpy(options->ask.ticket.data(), bytes.Data(), sizeof(Ticket));
  }
  uint64_t depth = 0;
  if (!ReadWhole(from, "depth", 1, kMpaDepthMax, &depth)) return false;
  options->ask.depth = static_cast<uint16_t>(depth);
  options->ask.crc = crc.As<Napi::Boolean>().Value();
  options->slots = QueuePairHost::kSlots;
  return ReadWhole(from, "timeoutMs", 1, UINT32_MAX, timeout_ms);
}

Napi::Value Connect(const Napi::CallbackInfo& info) {
  InitiatorOptions options;
  uint64_t timeout_ms = 0;
  if (info.Length() < 2 || !info[0].IsObject() || !info[1].IsFunction() ||
      !ReadOptions(info[0].As<Napi::Object>(), &options, &timeout_ms)) {
    ThrowJsError(info.Env(), {Code::kArgument, 0, "queuePairConnect"});
    return info.Env().Undefined();
  }
  // The worker deletes itself when its promise has been settled.
  auto* const worker = new ConnectWorker(info.Env(), std::move(options),
                                         timeout_ms * kMillisecondNs, info[1].As<Napi::Function>());
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

// The `index`-th argument as a whole number up to `most`; false with a pending exception.
bool TakeWhole(const Napi::CallbackInfo& info, size_t index, double most, const char* context,
               uint64_t* value) {
  double number = 0;
  if (napi_get_value_double(info.Env(), info[index], &number) == napi_ok &&
      ToWhole(std::floor(number), static_cast<uint64_t>(most), value)) {
    return true;
  }
  ThrowJsError(info.Env(), {Code::kArgument, 0, context});
  return false;
}

// A count for JavaScript; or a pending exception.
Napi::Value ToJs(Napi::Env env, const Result<uint32_t>& count) {
  if (count.ok()) return Napi::Number::New(env, count.value());
  ThrowJsError(env, count.error());
  return env.Undefined();
}

Napi::Value Attach(const Napi::CallbackInfo& info) {
  QueuePairHost* const host = HostOf(info);
  uint64_t slot = 0;
  if (host == nullptr || !TakeWhole(info, 1, UINT32_MAX, "queuePairAttach", &slot)) {
    return info.Env().Undefined();
  }
  if (info.Length() < 3 || !info[2].IsTypedArray() ||
      info[2].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    ThrowJsError(info.Env(), {Code::kArgument, 0, "queuePairAttach"});
    return info.Env().Undefined();
  }
  const Status attached = host->Attach(static_cast<uint32_t>(slot), info[2].As<Napi::Uint8Array>());
  if (!attached.ok()) ThrowJsError(info.Env(), attached.error());
  return info.Env().Undefined();
}

Napi::Value Submit(const Napi::CallbackInfo& info) {
  QueuePairHost* const host = static_cast<HostPointer*>(info.Data())->get();
  uint64_t count = 0;
  uint64_t spin_us = 0;
  if (!TakeWhole(info, 0, QueuePairHost::kSlots, "submit", &count) ||
      !TakeWhole(info, 1, kSpinUsMax, "submit", &spin_us)) {
    return info.Env().Undefined();
  }
  return ToJs(info.Env(), host->Submit(static_cast<uint32_t>(count), spin_us * kMicrosecondNs));
}

Napi::Value Wait(const Napi::CallbackInfo& info) {
  QueuePairHost* const host = HostOf(info);
  uint64_t timeout_us = 0;
  if (host == nullptr || !TakeWhole(info, 1, kTimeoutUsMax, "queuePairWait", &timeout_us)) {
    return info.Env().Undefined();
  }
  return ToJs(info.Env(), host->Wait(timeout_us * kMicrosecondNs));
}

Napi::Value Close(const Napi::CallbackInfo& info) {
  QueuePairHost* const host = HostOf(info);
  if (host != nullptr) host->Close();
  return info.Env().Undefined();
}

}  // namespace

void ExportQueuePair(Napi::Env env, Napi::Object exports) {
  exports.Set("queuePairConnect", Napi::Function::New<Connect>(env, "queuePairConnect"));
  exports.Set("queuePairAttach", Napi::Function::New<Attach>(env, "queuePairAttach"));
  exports.Set("queuePairWait", Napi::Function::New<Wait>(env, "queuePairWait"));
  exports.Set("queuePairClose", Napi::Function::New<Close>(env, "queuePairClose"));
}

}  // namespace farpage
