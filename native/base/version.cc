#include "base/version.h"

namespace farpage {

const uint32_t kBindingVersion = 1;

}  // namespace farpage
