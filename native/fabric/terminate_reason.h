// From the RFCs' error codes to ours.
#pragma once

#include "base/error.h"
#include "fabric/iwarp_wire.h"

namespace farpage {

// The Code for a request that a Terminate names, when no reason Send came before it. `atomic` tells
// the two meanings of 0/2/07 apart (RFC 7306 section 8.2: alignment; RFC 5040: the peer's failure).
Code CodeOfTerminate(TerminateCode code, bool atomic);

}  // namespace farpage
