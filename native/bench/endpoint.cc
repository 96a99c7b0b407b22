#include "bench/endpoint.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "bench/die.h"

namespace farpage::bench {
namespace {

// A socket address of either family with its length.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

SocketAddress Parse(const std::string& address) {
  SocketAddress parsed;
  errno = 0;
  if (address.starts_with("tcp:")) {
    auto* in = reinterpret_cast<sockaddr_in*>(&parsed.storage);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char* end = nullptr;
    const unsigned long port = std::strtoul(address.c_str() + 4, &end, 10);
    if (*end != '\0' || end == address.c_str() + 4 || port > 65535) Die("wrong TCP port");
    in->sin_port = htons(static_cast<uint16_t>(port));
    parsed.bytes = sizeof *in;
  } else if (address.starts_with("unix:")) {
    auto* un = reinterpret_cast<sockaddr_un*>(&parsed.storage);
    un->sun_family = AF_UNIX;
    if (address.size() - 5 >= sizeof un->sun_path) Die("Unix socket path too long");
    std::memcpy(un->sun_path, address.c_str() + 5, address.size() - 4);
    parsed.bytes = sizeof *un;
    if (un->sun_path[0] == '@') {  // an abstract name: a zero byte, its end told by the length
      un->sun_path[0] = '\0';
      parsed.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size() - 5);
    }
  } else {
    Die("an address is tcp:PORT or unix:PATH");
  }
  return parsed;
}

void SetNoDelay(int socket) {
  const int on = 1;
  if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 && errno != EOPNOTSUPP)
    Die("TCP_NODELAY");
}

}  // namespace

Fd Listen(const std::string& address) {
  SocketAddress parsed = Parse(address);
  Fd listener(Must(socket(parsed.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  Must(bind(listener.get(), parsed.get(), parsed.bytes), "bind");
  Must(listen(listener.get(), 16), "listen");
  return listener;
}

std::string AddressOf(int listener, const std::string& address) {
  if (!address.starts_with("tcp:")) return address;
  sockaddr_in bound{};
  socklen_t bytes = sizeof bound;
  Must(getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &bytes), "getsockname");
  return "tcp:" + std::to_string(ntohs(bound.sin_port));
}

Fd Accept(int listener) {
  Fd connection(Must(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), "accept"));
  SetNoDelay(connection.get());
  return connection;
}

Fd Dial(const std::string& address) {
  SocketAddress parsed = Parse(address);
  Fd connection(Must(socket(parsed.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  Must(connect(connection.get(), parsed.get(), parsed.bytes), "connect");
  SetNoDelay(connection.get());
  return connection;
}

}  // namespace farpage::bench
