// What TypeScript and C++ must agree on before anything else crosses the border.
#pragma once

#include <cstdint>

namespace farpage {

// The version of the native interface. src/native/load.ts refuses an addon of another one, so raise
// both when a function, a record layout or a shared constant changes.
extern const uint32_t kBindingVersion;

}  // namespace farpage
