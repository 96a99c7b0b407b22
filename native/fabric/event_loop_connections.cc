// Connections and listeners of an event loop: how they come and how they go.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/clock.h"
#include "fabric/event_loop.h"

namespace farpage {
namespace {

uint64_t Token(uint32_t index, uint32_t generation) {
  return (uint64_t{generation} & 0x3fffffff) << 32 | index;
}

}  // namespace

void EventLoop::Adopt(Fd socket, Admission* admission,
                      std::shared_ptr<const ExportPort> export_port) {
  if (open_ >= kLoopConnectionsMax) {
    stats_.connections.fetch_sub(1, std::memory_order_relaxed);
    stats_.refused.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.generation++;
  const uint64_t token = Token(index, slot.generation);
  slot.responder = std::make_unique<Responder>(std::move(socket), token, admission,
                                               std::move(export_port), &context_);
  Unsettle(slot, NowNs());
  open_++;
  stats_.accepted.fetch_add(1, std::memory_order_relaxed);
  unwatched_++;
  if (Watch(index, Interest::kRead)) MakeRunnable(index);
}

// Tells epoll what to look for. Whatever is so already is told at once (epoll_ctl(2) looks at what
// it adds or changes), so nothing that happened before is missed. False: it failed, for want of
// memory, and the connection has gone.
bool EventLoop::Watch(uint32_t index, Interest interest) {
  Slot& slot = slots_[index];
  if (slot.interest == interest) return true;
  int operation = EPOLL_CTL_MOD;
  if (interest == Interest::kNone) operation = EPOLL_CTL_DEL;
  if (slot.interest == Interest::kNone) operation = EPOLL_CTL_ADD;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  if (interest == Interest::kReadAndRoom) event.events |= EPOLLOUT;
  event.data.u64 = slot.responder->token();
  if (::epoll_ctl(epoll_.get(), operation, slot.responder->socket(), &event) != 0) {
    Release(index);
    return false;
  }
  if (operation == EPOLL_CTL_ADD) unwatched_--;
  if (operation == EPOLL_CTL_DEL) unwatched_++;
  slot.interest = interest;
  slot.polled = 0;
  return true;
}

// Polling ends, or is for fewer connections than there are: epoll looks at all of them again.
void EventLoop::WatchPolled() {
  for (size_t n = 0; unwatched_ != 0 && n < hot_.size();) {
    const uint32_t index = hot_[n];
    const bool full = slots_[index].responder->wants_room();
    const bool watched = slots_[index].interest != Interest::kNone ||
                         Watch(index, full ? Interest::kReadAndRoom : Interest::kRead);
    if (watched) n++;
  }
}

void EventLoop::Release(uint32_t index) {
  Slot& slot = slots_[index];
  if (slot.responder == nullptr) return;
  if (slot.responder->terminated()) {
    stats_.terminated.fetch_add(1, std::memory_order_relaxed);
  }
  slot.responder.reset();
  if (slot.interest == Interest::kNone) unwatched_--;
  slot.interest = Interest::kNone;
  slot.polled = 0;
  if (slot.waits) waiting_--;
  slot.waits = false;
  slot.runnable = false;
  Unsettle(slot, 0);
  std::erase(runnable_, index);
  std::erase(hot_, index);
  free_.push_back(index);
  open_--;
  stats_.connections.fetch_sub(1, std::memory_order_relaxed);
}

void EventLoop::EndConnections(const ProtectionDomain* domain) {
  for (uint32_t index = 0; index < slots_.size(); index++) {
    Responder* responder = slots_[index].responder.get();
    if (responder == nullptr) continue;
    if (domain == nullptr || responder->domain().get() == domain) Release(index);
  }
}

void EventLoop::Listen(int listener, Accepted accepted) {
  epoll_event interest{};
  interest.events = EPOLLIN;
  interest.data.u64 = kListenerBit | static_cast<uint32_t>(listener);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener, &interest) == 0) {
    listeners_.push_back({listener, std::move(accepted)});
  }
}

void EventLoop::StopListening(int listener) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener, nullptr);
  std::erase_if(listeners_, [&](const Listener& item) { return item.socket == listener; });
}

void EventLoop::AcceptAll(const Listener& listener) {
  for (int n = 0; n < kEventsMax; n++) {
    Fd socket(::accept4(listener.socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket.valid() && (errno == EMFILE || errno == ENFILE)) {
      // Out of descriptors: the spare one takes the connection in to turn it away; left in the
      // backlog it would wake this loop again at once.
      spare_.Reset();
      Fd refused(::accept4(listener.socket, nullptr, nullptr, SOCK_CLOEXEC));
      refused.Reset();
      spare_ = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      stats_.refused.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    if (!socket.valid()) return;
    listener.accepted(std::move(socket));
  }
}

// Since when its peer is half-way through something; 0: it is not. While nobody is, the loop
// sleeps without a timer, which is set and cancelled with every sleep.
void EventLoop::Unsettle(Slot& slot, uint64_t since_ns) {
  unsettled_ += (since_ns != 0 ? 1 : 0) - (slot.since_ns != 0 ? 1 : 0);
  slot.since_ns = since_ns;
}

// Ends connections whose peer has stopped in the middle of something.
void EventLoop::Sweep(uint64_t now) {
  next_sweep_ns_ = now + kSweepNs;
  if (unsettled_ == 0) return;
  for (uint32_t index = 0; index < slots_.size(); index++) {
    Slot& slot = slots_[index];
    if (slot.responder == nullptr || slot.since_ns == 0) continue;
    if (slot.since_ns > now) continue;
    const uint64_t limit = slot.responder->in_handshake() ? kHandshakeNs
                           : slot.responder->streaming()  ? kUnsettledNs
                                                          : kDrainNs;
    // Waiting for a page is our business, not the peer's; fills have deadlines of their own.
    if (slot.responder->waits_for_fill()) continue;
    if (now - slot.since_ns > limit) Release(index);
  }
}

}  // namespace farpage
