// A source whose pages JavaScript supplies: it is rung, takes requests and answers them.
#pragma once

#include <napi.h>

#include <memory>

#include "stores/callback_store.h"

namespace farpage::binding {

// A store of `source` (lengthBytes, takesWrites, timeoutMs, requestsMax, ring), whose `ring` is
// called on the JavaScript thread when there are requests. It does not keep the process alive.
std::unique_ptr<CallbackStore> OpenCallbackSource(const Napi::Object& source);

// regionTakeRequests, regionAnswerRequest and regionRefuseRequest of binding.ts.
void ExportCallbackSource(Napi::Env env, Napi::Object exports);

}  // namespace farpage::binding
