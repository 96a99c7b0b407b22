// Stream sockets by address: `tcp:PORT` on the loopback, `unix:PATH`, `unix:@NAME` (abstract).
#pragma once

#include <string>

#include "os/fd.h"

namespace farpage::bench {

// A listening socket; `tcp:0` takes a free port. A Unix path must not exist yet.
Fd Listen(const std::string& address);
// The address that reaches `listener`: as given to Listen, with the port that was taken.
std::string AddressOf(int listener, const std::string& address);
// The next connection, with TCP_NODELAY where it is TCP. Blocks.
Fd Accept(int listener);
// A connection to `address`, with TCP_NODELAY where it is TCP.
Fd Dial(const std::string& address);

}  // namespace farpage::bench
