// The other appliance of a copy, in this process: a file region that is read over its NIC.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "check.h"
#include "fabric/remote_store.h"
#include "faulty_fixture.h"

namespace farpage::test {

inline constexpr uint64_t kSourcePages = 600;
inline const uint64_t kSourceBytes = (kSourcePages << kPageShift) - 100;

inline std::byte SourceByte(uint64_t offset) {
  return static_cast<std::byte>((offset >> kPageShift) * 31 + offset % 251);
}

struct Source {
  Source() {
    std::vector<std::byte> bytes(kSourceBytes);
    for (uint64_t at = 0; at < kSourceBytes; at++) bytes[at] = SourceByte(at);
    const std::string path = appliance.folder.File("source");
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (::pwrite(file.get(), bytes.data(), kSourceBytes, 0) !=
        static_cast<ssize_t>(kSourceBytes)) {
      std::abort();
    }
    stag = appliance.OpenFile(path, false);
  }
  [[nodiscard]] RemoteDoor Door() const {
    RemoteDoor door;
    door.connect.path = appliance.socket_path;
    door.connect.ask.ticket = appliance.ticket;
    door.stag = stag;
    return door;
  }
  // Ends every connection; until Return nobody gets another.
  void GoAway() { appliance.nic->CloseDomain(appliance.domain); }
  void Return() {
    appliance.domain = std::make_shared<ProtectionDomain>(appliance.pager.shootdown(), 64);
    appliance.nic->AddTicket(appliance.ticket, appliance.domain, 60'000'000'000);
    auto registered = appliance.domain->Register(appliance.region, 0, kSourceBytes, false);
    if (!registered.ok()) std::abort();
    stag = registered.value();
  }
  Appliance appliance;
  uint32_t stag = 0;
};

}  // namespace farpage::test
