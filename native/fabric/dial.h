// Making a connected stream socket within a time.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "os/fd.h"

namespace farpage {

// Connects to a Unix stream socket. The socket is non-blocking and close-on-exec.
// Errors: kSocketPath (empty, or over the 107 bytes of sockaddr_un), kConnection (nobody
// listens, or no such socket), kFileAccess, kTimeout (the backlog stayed full until `deadline_ns`,
// which is of CLOCK_MONOTONIC). Thread: any; blocks until the deadline at most.
Result<Fd> DialUnix(const std::string& path, uint64_t deadline_ns);

// Connects to a TCP port by name or address, trying each address in turn, with TCP_NODELAY set.
// The name is looked up by getaddrinfo(3), whose time is the resolver's own.
// Errors: kArgument (no such name), kConnection (refused, unreachable), kTimeout. Thread: as above.
Result<Fd> DialTcp(const std::string& host, uint16_t port, uint64_t deadline_ns);

// Waits until `events` of poll(2) are there. Errors: kTimeout at the deadline, kIo.
Status AwaitEvents(int socket, short events, uint64_t deadline_ns);

}  // namespace farpage
