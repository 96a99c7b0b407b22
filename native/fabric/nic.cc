#include "fabric/nic.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "base/clock.h"

namespace farpage {

Result<std::unique_ptr<Nic>> Nic::Start(const Options& options, FaultHandler* pager,
                                        Shootdown* shootdown) {
  std::unique_ptr<Nic> nic(new Nic(options));
  const uint32_t threads = std::clamp<uint32_t>(options.threads, 1, kCounterLanesMax);
  for (uint32_t n = 0; n < threads; n++) {
    auto loop = EventLoop::Start({"nic-" + std::to_string(n), n, options.poll_us * 1000ull,
                                  options.window_bytes},
                                 pager, shootdown);
    if (!loop.ok()) return loop.error();
    nic->loops_.push_back(std::move(loop).value());
  }
  return nic;
}

Result<uint16_t> Nic::ListenOn(const std::string& host, uint16_t port,
                               std::shared_ptr<const ExportPort> export_port) {
  if (stopped_) return Error{Code::kClosed, 0, "the NIC is closed"};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  if (::getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &found) !=
          0 ||
      found == nullptr) {
    return Error{Code::kArgument, 0, "the host has no address"};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, ::freeaddrinfo);
  Fd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return SystemError("socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0) return SystemError("bind");
  if (::listen(socket.get(), kListenBacklog) != 0) return SystemError("listen");
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &length);
  const uint16_t chosen = bound.ss_family == AF_INET6
                              ? ntohs(reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port)
                              : ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  Watch(std::move(socket), std::move(export_port), "");
  return chosen;
}

Result<uint16_t> Nic::ListenTcp(const std::string& host, uint16_t port) {
  return ListenOn(host, port, nullptr);
}

Result<uint16_t> Nic::ListenExport(const std::string& host, uint16_t port,
                                   std::shared_ptr<const ExportPort> description) {
  return ListenOn(host, port, std::move(description));
}

Status Nic::ListenUnix(const std::string& path) {
  if (stopped_) return Error{Code::kClosed, 0, "the NIC is closed"};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error{Code::kSocketPath, 0, "a socket's path has at most 107 bytes"};
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return SystemError("socket");
  // Set before bind, the mode of the socket file is never wider, not even for a moment.
  ::fchmod(socket.get(), S_IRUSR | S_IWUSR);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return SystemError("bind");
  }
  ::chmod(path.c_str(), S_IRUSR | S_IWUSR);
  if (::listen(socket.get(), kListenBacklog) != 0) return SystemError("listen");
  Watch(std::move(socket), nullptr, path);
  return {};
}

void Nic::Watch(Fd socket, std::shared_ptr<const ExportPort> export_port, std::string path) {
  const int number = socket.get();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    listeners_.push_back({std::move(socket), export_port, std::move(path)});
  }
  // Accepted by the first loop, served by all in turn.
  loops_[0]->Post([this, number, export_port] {
    loops_[0]->Listen(number, [this, export_port](Fd accepted) {
      Distribute(std::move(accepted), export_port);
    });
  });
}

void Nic::Distribute(Fd socket, const std::shared_ptr<const ExportPort>& export_port) {
  uint64_t open = 0;
  for (const auto& loop : loops_) open += loop->stats().connections.load();
  if (open >= options_.connections_max) {
    loops_[0]->stats().refused.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // no effect on AF_UNIX
  EventLoop* loop = loops_[next_loop_.fetch_add(1) % loops_.size()].get();
  // Counted here, by the thread that accepts, and not when the other loop gets to it: the bound
  // must hold in a burst.
  loop->stats().connections.fetch_add(1, std::memory_order_relaxed);
  if (loop == loops_[0].get()) {
    loop->Adopt(std::move(socket), this, export_port);
    return;
  }
  auto shared = std::make_shared<Fd>(std::move(socket));
  loop->Post([this, loop, shared, export_port] {
    loop->Adopt(std::move(*shared), this, export_port);
  });
}

void Nic::StopExports(const ProtectionDomain* domain) {
  std::vector<ListenerEntry> ending;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = listeners_.begin(); it != listeners_.end();) {
      if (it->export_port != nullptr && it->export_port->domain.get() == domain) {
        ending.push_back(std::move(*it));
        it = listeners_.erase(it);
      } else {
        ++it;
      }
    }
  }
  for (const ListenerEntry& entry : ending) {
    loops_[0]->PostAndWait([&] { loops_[0]->StopListening(entry.socket.get()); });
  }
}

void Nic::MakeRoomLocked(std::deque<Ticket>& queue, bool used) {
  const uint64_t now = NowNs();
  if (queue.size() >= kTicketsMax) {
    // Sessions that have ended take no place from those that live on.
    std::erase_if(queue, [&](const Ticket& ticket) {
      const auto found = tickets_.find(ticket);
      return found == tickets_.end() || (found->second.expires_ns == 0) != used;
    });
  }
  while (!queue.empty()) {
    const auto found = tickets_.find(queue.front());
    const bool here = found != tickets_.end() && (found->second.expires_ns == 0) == used;
    const bool fresh = here && (used || found->second.expires_ns >= now);
    if (fresh && queue.size() < kTicketsMax) return;
    if (here) tickets_.erase(found);
    queue.pop_front();
  }
}

void Nic::AddTicket(const Ticket& ticket, std::shared_ptr<ProtectionDomain> domain,
                    uint64_t lifetime_ns) {
  std::lock_guard<std::mutex> lock(mutex_);
  MakeRoomLocked(unused_, false);
  tickets_[ticket] = {std::move(domain), NowNs() + lifetime_ns};
  unused_.push_back(ticket);
}

Result<std::shared_ptr<ProtectionDomain>> Nic::Admit(const Ticket& ticket) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = tickets_.find(ticket);
  if (found == tickets_.end()) return Error{Code::kTicket, 0, "no such ticket"};
  if (found->second.expires_ns != 0 && found->second.expires_ns < NowNs()) {
    tickets_.erase(found);
    return Error{Code::kTicket, 0, "the ticket has expired"};
  }
  std::shared_ptr<ProtectionDomain> domain = found->second.domain;
  Status entered = domain->Enter();
  if (!entered.ok()) return entered.error();
  if (found->second.expires_ns != 0) {
    found->second.expires_ns = 0;
    MakeRoomLocked(used_, true);
    used_.push_back(ticket);
  }
  return domain;
}

void Nic::CloseDomain(const std::shared_ptr<ProtectionDomain>& domain) {
  domain->Close();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    std::erase_if(tickets_, [&](const auto& item) { return item.second.domain == domain; });
  }
  StopExports(domain.get());
  for (const auto& loop : loops_) {
    loop->PostAndWait([&] { loop->EndConnections(domain.get()); });
  }
}

void Nic::Stop() {
  if (stopped_) return;
  stopped_ = true;
  for (const auto& loop : loops_) loop->Stop();
  std::lock_guard<std::mutex> lock(mutex_);
  for (const ListenerEntry& entry : listeners_) {
    if (!entry.path.empty()) ::unlink(entry.path.c_str());
  }
  listeners_.clear();
  tickets_.clear();
  unused_.clear();
  used_.clear();
}

}  // namespace farpage
