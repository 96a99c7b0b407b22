#include "fabric/dial.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/clock.h"

namespace farpage {
namespace {

constexpr int kPollMsMax = 1'000'000;
constexpr long kUnixRetryNs = 2'000'000;  // a full backlog has no event to wait for

Error ConnectError(int number) {
  switch (number) {
    case EACCES: case EPERM: return {Code::kFileAccess, number, "connect"};
    case ETIMEDOUT: return {Code::kTimeout, number, "connect"};
    default: return {Code::kConnection, number, "connect"};
  }
}

struct AddressListFree {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

Result<Fd> DialAddress(const addrinfo& address, uint64_t deadline_ns) {
  Fd socket(::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                     address.ai_protocol));
  if (!socket.valid()) return Error{Code::kIo, errno, "socket"};
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS && errno != EINTR) return ConnectError(errno);
    const Status ready = AwaitEvents(socket.get(), POLLOUT, deadline_ns);
    if (!ready.ok()) return ready.error();
    int number = 0;
    socklen_t length = sizeof number;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &number, &length);
    if (number != 0) return ConnectError(number);
  }
  const int on = 1;
  // Requests are one FPDU each and wait for their answer: Nagle would hold them back.
  if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    return Error{Code::kIo, errno, "setsockopt TCP_NODELAY"};
  }
  return socket;
}

}  // namespace

Status AwaitEvents(int socket, short events, uint64_t deadline_ns) {
  for (;;) {
    const uint64_t now = NowNs();
    if (now >= deadline_ns) return Error{Code::kTimeout, 0, "poll"};
    const uint64_t left_ms = (deadline_ns - now + 999'999) / 1'000'000;
    pollfd entry{socket, events, 0};
    const int ready =
        ::poll(&entry, 1, static_cast<int>(std::min<uint64_t>(left_ms, kPollMsMax)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return Error{Code::kIo, errno, "poll"};
  }
}

Result<Fd> DialUnix(const std::string& path, uint64_t deadline_ns) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error{Code::kSocketPath, 0, "connect"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Error{Code::kIo, errno, "socket"};
  const auto* const to = reinterpret_cast<const sockaddr*>(&address);
  while (::connect(socket.get(), to, sizeof address) != 0) {
    if (errno != EAGAIN && errno != EINTR) return ConnectError(errno);
    if (NowNs() >= deadline_ns) return Error{Code::kTimeout, EAGAIN, "connect"};
    const timespec pause{0, kUnixRetryNs};
    ::nanosleep(&pause, nullptr);
  }
  return socket;
}

Result<Fd> DialTcp(const std::string& host, uint16_t port, uint64_t deadline_ns) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (failed != 0) return Error{Code::kArgument, failed == EAI_SYSTEM ? errno : 0, "getaddrinfo"};
  const std::unique_ptr<addrinfo, AddressListFree> owned(list);
  Error last{Code::kConnection, 0, "getaddrinfo"};
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    Result<Fd> socket = DialAddress(*one, deadline_ns);
    if (socket.ok()) return socket;
    last = socket.error();
    if (last.code == Code::kTimeout) break;
  }
  return last;
}

}  // namespace farpage
