// queuePairConnect, queuePairAttach, queuePairWait and queuePairClose of
// src/native/binding.ts.
#pragma once

#include <napi.h>

namespace farpage {

// Adds the five functions to the addon's exports.
void ExportQueuePair(Napi::Env env, Napi::Object exports);

}  // namespace farpage
