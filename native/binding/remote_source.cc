#include "binding/remote_source.h"

#include <cstring>

#include "binding/arguments.h"
#include "binding/caller.h"
#include "binding/js_error.h"
#include "binding/objects.h"

namespace farpage::binding {
namespace {

RemoteStore* StoreOf(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<RegionObject>(info[0]);
  if (object == nullptr || object->closed) return nullptr;
  return object->remote;
}

// Nothing when the region was closed meanwhile: nobody waits for the door any more.
void RegionOpenDoor(const Napi::CallbackInfo& info) {
  RemoteStore* store = StoreOf(info);
  if (store != nullptr) store->Open(DoorOf(ObjectOf(info[1])));
}

void RegionRefuseDoor(const Napi::CallbackInfo& info) {
  RemoteStore* store = StoreOf(info);
  if (store == nullptr) return;
  const std::string name = info[1].IsString() ? info[1].As<Napi::String>().Utf8Value() : "";
  store->Refuse({CodeOfName(name).value_or(Code::kInternal), 0, "the source of this copy"});
}

}  // namespace

RemoteDoor DoorOf(const Napi::Object& from) {
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
  return door;
}

std::unique_ptr<RemoteStore> OpenRemoteSource(const Napi::Object& source) {
  auto caller = std::make_shared<Caller>(source.Env(),
                                         source.Get("needDoor").As<Napi::Function>(),
                                         "farpage remote");
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
