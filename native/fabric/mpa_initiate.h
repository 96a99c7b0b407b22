// The initiator's half of the MPA handshake on a connected socket.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "fabric/mpa_handshake.h"

namespace farpage {

// What the handshake is to ask for.
struct MpaAsk {
  bool crc = false;
  uint16_t depth = kMpaDepthMax;  // 1..kMpaDepthMax
  Ticket ticket{};                // zeros where none is needed
  uint8_t flags = kFlagAnyOrder | kFlagReason;  // what it can deal with
};

// What the responder granted.
struct MpaGrant {
  bool crc = false;
  uint16_t depth = 0;  // READs and atomics outstanding at most, at least 1
  uint8_t flags = 0;   // of kFlagAnyOrder and kFlagReason; 0 from a standard peer
};

// Sends the MPA Request and reads the Reply, not a byte more. `socket` is non-blocking.
// Errors: kConnection (closed or reset, or refused without a code of ours), the Code that a Farpage
// responder gave for its refusal (kTicket, kQuota, ...), kProtocol (no MPA reply, markers demanded,
// an IRD of 0), kTimeout at `deadline_ns` (CLOCK_MONOTONIC). Thread: any; blocks.
Result<MpaGrant> InitiateMpa(int socket, const MpaAsk& ask, uint64_t deadline_ns);

}  // namespace farpage
