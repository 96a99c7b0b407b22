// The source of a copy as JavaScript sees it: it is asked for doors and answers.
#pragma once

#include <napi.h>

#include <memory>

#include "fabric/remote_store.h"

namespace farpage::binding {

// A store of `source` (lengthBytes, needDoor), whose `needDoor` is called on the JavaScript thread
// whenever a read needs a connection and none stands. It does not keep the process alive.
std::unique_ptr<RemoteStore> OpenRemoteSource(const Napi::Object& source);

// A SourceDoor of binding.ts.
RemoteDoor DoorOf(const Napi::Object& from);

// regionOpenDoor and regionRefuseDoor of binding.ts.
void ExportRemoteSource(Napi::Env env, Napi::Object exports);

}  // namespace farpage::binding
