#include "binding/remote_source.h"

#include <cstring>

#include "binding/arguments.h"
#include "binding/js_error.h"
#include "binding/objects.h"

namespace farpage::binding {
namespace {

// A JavaScript function that any thread may call without waiting; released with its last owner.
class Caller {
 public:
  Caller(Napi::Env env, Napi::Function function)
      : call_(Napi::ThreadSafeFunction::New(env, function, "farpage remote", 0, 1)) {
    call_.Unref(env);
  }
  ~Caller() { call_.Release(); }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  void Call() {
    call_.NonBlockingCall([](Napi::Env env, Napi::Function function) {
      if (env != nullptr) function.Call({});
    });
  }

 private:
  Napi::ThreadSafeFunction call_;
};

RemoteStore* StoreOf(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<RegionObject>(info[0]);
  if (object == nullptr || object->closed) return nullptr;
  return object->remote;
}

// Nothing when the region was closed meanwhile: nobody waits for the door any more.
void RegionOpenDoor(const Napi::CallbackInfo& info) {
  RemoteStore* store = StoreOf(info);
  if (store == nullptr) return;
  const Napi::Object from = ObjectOf(info[1]);
  RemoteDoor door;
  door.connect.path = TextOf(from, "path");
  door.connect.host = TextOf(from, "host");
  door.connect.port = static_cast<uint16_t>(NumberOf(from, "port"));
  door.stag = static_cast<uint32_t>(NumberOf(from, "stag"));
  const Napi::Value ticket = from.Get("ticket");
  if (ticket.IsTypedArray()) {
    const auto bytes = ticket.As<Napi::Uint8Array>();
    if (bytes.TypedArrayType() == napi_uint8_array && bytes.ByteLength() == sizeof(Ticket)) {
      std::memcpy(door.connect.ask.ticket.data(), bytes.Data(), sizeof(Ticket));
    }
  }
  store->Open(std::move(door));
}

void RegionRefuseDoor(const Napi::CallbackInfo& info) {
  RemoteStore* store = StoreOf(info);
  if (store == nullptr) return;
  const std::string name = info[1].IsString() ? info[1].As<Napi::String>().Utf8Value() : "";
  Code code = Code::kInternal;
  for (int n = 1; n < static_cast<int>(Code::kCount); n++) {
    if (name == CodeName(static_cast<Code>(n))) code = static_cast<Code>(n);
  }
  store->Refuse({code, 0, "the source of this copy"});
}

}  // namespace

std::unique_ptr<RemoteStore> OpenRemoteSource(const Napi::Object& source) {
  auto caller = std::make_shared<Caller>(source.Env(),
                                         source.Get("needDoor").As<Napi::Function>());
  RemoteStoreOptions options;
  options.length_bytes = NumberOf(source, "lengthBytes");
  options.need_door = [caller] { caller->Call(); };
  return std::make_unique<RemoteStore>(std::move(options));
}

void ExportRemoteSource(Napi::Env env, Napi::Object exports) {
  exports.Set("regionOpenDoor", Napi::Function::New(env, RegionOpenDoor));
  exports.Set("regionRefuseDoor", Napi::Function::New(env, RegionRefuseDoor));
}

}  // namespace farpage::binding
