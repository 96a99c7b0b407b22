// The software RNIC: event loops, listeners, tickets.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric/event_loop.h"
#include "fabric/farpage_private_data.h"
#include "fabric/protection_domain.h"

namespace farpage {

// Tickets not yet used, and tickets used, at most; of each kind the oldest go first.
inline constexpr size_t kTicketsMax = 65'536;
inline constexpr int kListenBacklog = 512;

// Owns its loops and joins them in Stop(). Thread: any, but not from a loop.
class Nic final : public Admission {
 public:
  struct Options {
    uint32_t threads = 1;
    uint32_t poll_us = 50;
    uint32_t connections_max = 1024;
    uint64_t window_bytes = 256 * 1024;
  };
  // `pager` answers the faults, `shootdown` is the pager's; both must outlive the NIC.
  static Result<std::unique_ptr<Nic>> Start(const Options& options, FaultHandler* pager,
                                            Shootdown* shootdown);
  ~Nic() override { Stop(); }

  // Listens; returns the port bound (port 0 picks one). Fails: kAddressInUse, kFileAccess,
  // kArgument (no address of this machine), kIo.
  Result<uint16_t> ListenTcp(const std::string& host, uint16_t port);
  // Binds `path` (at most 107 bytes, must not exist) with mode 0600. Fails: kSocketPath,
  // kAddressInUse, kIo.
  Status ListenUnix(const std::string& path);
  // A port of its own for everybody; it ends with StopExports of its domain.
  Result<uint16_t> ListenExport(const std::string& host, uint16_t port,
                                std::shared_ptr<const ExportPort> description);
  void StopExports(const ProtectionDomain* domain);

  // A ticket lets connections into the domain; unused, it ends after `lifetime_ns`.
  void AddTicket(const Ticket& ticket, std::shared_ptr<ProtectionDomain> domain,
                 uint64_t lifetime_ns);
  Result<std::shared_ptr<ProtectionDomain>> Admit(const Ticket& ticket) override;

  // Closes the domain, forgets its tickets, ends its connections. Returns when that is done.
  void CloseDomain(const std::shared_ptr<ProtectionDomain>& domain);

  void Stop();
  [[nodiscard]] const std::vector<std::unique_ptr<EventLoop>>& loops() const { return loops_; }

 private:
  struct TicketEntry {
    std::shared_ptr<ProtectionDomain> domain;
    uint64_t expires_ns = 0;  // 0: used, lives as long as the domain
  };
  struct ListenerEntry {
    Fd socket;
    std::shared_ptr<const ExportPort> export_port;
    std::string path;
  };
  explicit Nic(const Options& options) : options_(options) {}
  // Makes room in a queue for one more, dropping what it must. The lock is held.
  void MakeRoomLocked(std::deque<Ticket>& queue, bool used);
  Result<uint16_t> ListenOn(const std::string& host, uint16_t port,
                            std::shared_ptr<const ExportPort> export_port);
  void Watch(Fd socket, std::shared_ptr<const ExportPort> export_port, std::string path);
  void Distribute(Fd socket, const std::shared_ptr<const ExportPort>& export_port);

  const Options options_;
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::mutex mutex_;  // guards tickets and listeners_; taken at connection set-up only
  std::map<Ticket, TicketEntry> tickets_;
  // Their order, each at most kTicketsMax long; what has left tickets_ leaves them at their front
  // or when they are full.
  std::deque<Ticket> unused_;
  std::deque<Ticket> used_;
  std::vector<ListenerEntry> listeners_;
  std::atomic<uint32_t> next_loop_{0};
  bool stopped_ = false;
};

}  // namespace farpage
