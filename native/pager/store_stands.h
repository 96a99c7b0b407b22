// Whether a store could be written now.
#pragma once

#include "memory/page_store.h"

namespace farpage {

// A write of no images: a store in a file looks whether that has still its name. Nobody waits for a
// program or a peer to ask that. Requires: it has a sink. Fails: kFileChanged.
inline Status StoreStands(PageStore& store) {
  return store.writes_elsewhere() ? Status{} : store.Write({});
}

}  // namespace farpage
