#include "fabric/doorbell.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace farpage {

Doorbell::Doorbell() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

// `rung_` is set before `asleep_` is read, and the owner sets `asleep_` before it reads `rung_`:
// one of the two sees the other.
void Doorbell::Ring() {
  rung_.store(true, std::memory_order_seq_cst);
  if (!asleep_.load(std::memory_order_seq_cst)) return;
  const uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

void Doorbell::SleepBeside(const Initiator* initiator, int timeout_ms) {
  asleep_.store(true, std::memory_order_seq_cst);
  if (!rung_.load(std::memory_order_seq_cst)) {
    pollfd polled[2] = {{event_.get(), POLLIN, 0}, {-1, POLLIN, 0}};
    if (initiator != nullptr) {
      polled[1].fd = initiator->socket();
      if (initiator->wants_write()) polled[1].events |= POLLOUT;
    }
    (void)::poll(polled, 2, event_.valid() ? timeout_ms : kDeafSleepMs);
    if ((polled[0].revents & POLLIN) != 0) {
      uint64_t count = 0;
      (void)!::read(event_.get(), &count, sizeof count);
    }
  }
  asleep_.store(false, std::memory_order_seq_cst);
}

}  // namespace farpage
