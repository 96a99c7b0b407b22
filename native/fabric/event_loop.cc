#include "fabric/event_loop.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>

#include "base/clock.h"
#include "memory/region_copy.h"
#include "os/work_in_pieces.h"

namespace farpage {
namespace {

// Polling pays only while somebody else can run meanwhile.
bool MayPoll() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return ::sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 1;
}

// Nobody will use the page of a wake, so nobody holds it.
void LetGo(const FaultWake& wake) {
  if (wake.region != nullptr) wake.region->table->ClearFlags(wake.page, kHeld);
}

}  // namespace

EventLoop::EventLoop(const Options& options, FaultHandler* pager, Shootdown* shootdown, Fd epoll,
                     Fd event, TurnCounter* counter)
    : options_(options),
      pager_(pager),
      shootdown_(shootdown),
      epoll_(std::move(epoll)),
      event_(std::move(event)),
      spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      counter_(counter) {
  context_.pager = pager;
  context_.waiter = this;
  context_.lane = options.lane;
  context_.window_bytes = options.window_bytes;
  fills_ = pager->OpenFillQueue();
}

Result<std::unique_ptr<EventLoop>> EventLoop::Start(const Options& options, FaultHandler* pager,
                                                    Shootdown* shootdown) {
  InstallBusErrorGuard();
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return SystemError("epoll_create1");
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return SystemError("eventfd");
  epoll_event doorbell{};
  doorbell.events = EPOLLIN | EPOLLET;
  doorbell.data.u64 = kDoorbell;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &doorbell) != 0) {
    return SystemError("epoll_ctl");
  }
  TurnCounter* counter = shootdown->Register();
  if (counter == nullptr) return Error{Code::kQuota, 0, "turn counters"};
  std::unique_ptr<EventLoop> loop(new EventLoop(options, pager, shootdown, std::move(epoll),
                                                std::move(event), counter));
  loop->thread_ = Thread(options.name, [raw = loop.get()] { raw->Loop(); });
  return loop;
}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Stop() {
  if (stopping_.exchange(true)) return;
  Ring();
  thread_.Join();
  fills_->HandOverAll();
  pager_->Forget(this);
  std::vector<std::function<void()>> left;
  std::vector<FaultWake> unheard;
  {
    std::lock_guard<std::mutex> lock(inbox_mutex_);
    stopped_ = true;
    left.swap(tasks_);
    unheard.swap(wakes_);
  }
  for (const FaultWake& wake : unheard) LetGo(wake);
  // Who waits for a task must not wait for ever; the loop is gone, so this thread may run them.
  for (auto& task : left) task();
  for (uint32_t index = 0; index < slots_.size(); index++) Release(index);
  shootdown_->Unregister(counter_);
}

void EventLoop::Ring() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
}

bool EventLoop::Post(std::function<void()> task) {
  {
    std::lock_guard<std::mutex> lock(inbox_mutex_);
    if (stopped_) return false;
    tasks_.push_back(std::move(task));
    inbox_full_.store(true, std::memory_order_seq_cst);
  }
  if (sleeping_.load(std::memory_order_seq_cst)) Ring();
  return true;
}

void EventLoop::PostAndWait(std::function<void()> task) {
  std::mutex mutex;
  std::condition_variable done_wake;
  bool done = false;
  const bool posted = Post([&] {
    task();
    std::lock_guard<std::mutex> lock(mutex);
    done = true;
    done_wake.notify_one();
  });
  if (!posted) return;
  std::unique_lock<std::mutex> lock(mutex);
  done_wake.wait(lock, [&] { return done; });
}

void EventLoop::Wake(const FaultWake& wake) {
  {
    std::lock_guard<std::mutex> lock(inbox_mutex_);
    wakes_.push_back(wake);
    inbox_full_.store(true, std::memory_order_seq_cst);
  }
  if (sleeping_.exchange(false, std::memory_order_seq_cst)) Ring();
}

void EventLoop::DrainInbox() {
  if (!inbox_full_.load(std::memory_order_acquire)) return;
  std::vector<FaultWake> wakes;
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard<std::mutex> lock(inbox_mutex_);
    wakes.swap(wakes_);
    tasks.swap(tasks_);
    inbox_full_.store(false, std::memory_order_relaxed);
  }
  for (const FaultWake& wake : wakes) {
    const auto index = static_cast<uint32_t>(wake.token);
    Slot* slot = index < slots_.size() ? &slots_[index] : nullptr;
    if (slot == nullptr || slot->responder == nullptr || slot->responder->token() != wake.token) {
      // The connection has gone.
      LetGo(wake);
      continue;
    }
    slot->responder->OnWake(wake);
    MakeRunnable(index);
  }
  for (auto& task : tasks) task();
}

void EventLoop::MakeRunnable(uint32_t index) {
  if (slots_[index].runnable) return;
  slots_[index].runnable = true;
  runnable_.push_back(index);
}

int EventLoop::HandleEvents(int timeout_ms) {
  epoll_event events[kEventsMax];
  const int count = ::epoll_wait(epoll_.get(), events, kEventsMax, timeout_ms);
  for (int n = 0; n < count; n++) {
    const uint64_t data = events[n].data.u64;
    if (data == kDoorbell) {
      uint64_t rung = 0;
      [[maybe_unused]] const ssize_t got = ::read(event_.get(), &rung, sizeof rung);
      continue;
    }
    if ((data & kListenerBit) != 0) {
      for (const Listener& listener : std::vector<Listener>(listeners_)) {
        if (static_cast<uint32_t>(listener.socket) == static_cast<uint32_t>(data)) {
          AcceptAll(listener);
        }
      }
      continue;
    }
    const auto index = static_cast<uint32_t>(data);
    if (index >= slots_.size() || slots_[index].responder == nullptr ||
        slots_[index].responder->token() != data) {
      continue;
    }
    if ((events[n].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
      slots_[index].responder->MarkHungUp();
    } else if ((events[n].events & EPOLLIN) != 0) {
      slots_[index].responder->MarkReadable();
    }
    // Room that nobody waits for any more: not to be told of again.
    if (events[n].events == EPOLLOUT && !slots_[index].responder->wants_room() &&
        !Watch(index, Interest::kRead)) {
      continue;
    }
    MakeRunnable(index);
  }
  return count;
}

// Whether somebody else is polled who has just been served and waits for nothing.
bool EventLoop::OthersAsk(uint32_t index) const {
  if (hot_.size() > kPolledConnectionsMax) return true;
  return std::any_of(hot_.begin(), hot_.end(), [&](uint32_t other) {
    const Slot& slot = slots_[other];
    return other != index && !slot.waits && last_activity_ns_ < slot.served_ns + kLatelyNs;
  });
}

// One turn of one connection; true when it did something and goes on.
bool EventLoop::RunOne(uint32_t index) {
  Slot& slot = slots_[index];
  Responder& responder = *slot.responder;
  Responder::Outcome outcome;
  context_.turn_reads = OthersAsk(index) ? kTurnReadsShort : kTurnReadsMax;
  {
    Turn turn(counter_);
    context_.turn++;
    outcome = responder.Run();
  }
  const uint64_t operations = responder.TakeOperations();
  if (operations != 0) {
    OperationCounters::Add(stats_.operations, operations);
    answering_.Answered(last_activity_ns_);
  }
  const uint64_t read = responder.TakeBytesRead();
  const uint64_t written = responder.TakeBytesWritten();
  if (read != 0) OperationCounters::Add(stats_.bytes_read, read);
  if (written != 0) OperationCounters::Add(stats_.bytes_written, written);
  if (outcome == Responder::Outcome::kClosed) {
    Release(index);
    return false;
  }
  // A long turn may have taken longer than polling goes on after it.
  if (read + written >= kLongTurnBytes) last_activity_ns_ = NowNs();
  if (!responder.unsettled()) {
    Unsettle(slot, 0);
  } else if (slot.since_ns == 0 || (read | written | operations) != 0) {
    Unsettle(slot, last_activity_ns_);
  }
  if (slot.waits != responder.waits_for_fill()) {
    slot.waits = !slot.waits;
    waiting_ += slot.waits ? 1 : -1;
    // Nobody polls it while it waits, and what it is asked meanwhile is read ahead.
    if (slot.waits && slot.interest == Interest::kNone && !Watch(index, Interest::kRead)) {
      return false;
    }
  }
  if (responder.wants_room() && slot.interest == Interest::kRead &&
      !Watch(index, Interest::kReadAndRoom)) {
    return false;
  }
  if (outcome == Responder::Outcome::kAgain) MakeRunnable(index);
  return (read | written | operations) != 0;
}

bool EventLoop::RunRunnable() {
  if (runnable_.empty()) return false;
  last_activity_ns_ = NowNs();
  running_.swap(runnable_);
  for (const uint32_t index : running_) {
    if (slots_[index].responder == nullptr) continue;
    slots_[index].runnable = false;
    if (!RunOne(index)) continue;
    slots_[index].served_ns = last_activity_ns_;
    if (std::find(hot_.begin(), hot_.end(), index) == hot_.end()) hot_.push_back(index);
  }
  running_.clear();
  return true;
}

// True when it is time to sleep. Beside work in pieces it is not yet, but others go first: who asks
// may be waiting for this very core; who has it for long may keep it.
bool EventLoop::PolledInVain(uint64_t idle_ns) {
  if (idle_ns <= options_.poll_ns) return false;
  if (idle_ns > kPollBesideNs || !WorksInPieces()) return true;
  OperationCounters::Add(stats_.yields, 1);
  const uint64_t before_ns = NowNs();
  ::sched_yield();
  const uint64_t now = NowNs();
  if (core_.Judge(now, now - before_ns)) (void)LeaveCore();
  return false;
}

// Looks at the connections that were active lately without asking epoll; false when it is time
// to sleep.
bool EventLoop::PollHot(uint64_t now) {
  if (PolledInVain(now - last_activity_ns_)) {
    WatchPolled();
    hot_.clear();
    return false;
  }
  if (hot_.size() > kPolledConnectionsMax) {
    WatchPolled();
    HandleEvents(0);
    return true;
  }
  return ServeHot(now) || fills_->outstanding() != 0;
}

// Serves the connections that are polled and not about to be served anyway; false when there are
// none, or too many to be polled.
bool EventLoop::ServeHot(uint64_t now) {
  if (hot_.size() > kPolledConnectionsMax) {
    WatchPolled();
    return false;
  }
  bool any = false;
  for (size_t n = 0; n < hot_.size(); n++) {
    const uint32_t index = hot_[n];
    Responder& responder = *slots_[index].responder;
    if (slots_[index].runnable || responder.waits_for_fill()) continue;
    any = true;
    responder.MarkReadable();
    if (RunOne(index)) {
      last_activity_ns_ = std::max(last_activity_ns_, now);
      slots_[index].served_ns = last_activity_ns_;
      if (++slots_[index].polled == kPolledAlone) Watch(index, Interest::kNone);
    }
    if (n < hot_.size() && hot_[n] != index) n--;
  }
  return any;
}

// Ends reads of its own that are done. Each takes as long as an answer to somebody else.
void EventLoop::EndReads(uint64_t now) {
  for (int n = 0; n < kFillsPerRound && fills_->outstanding() != 0 && fills_->Look(now); n++) {
    ServeHot(now);
  }
}

// The time. While somebody else had the core, connections were not polled: that does not count
// as polling in vain, or who is kept from answering would then also have to be woken.
uint64_t EventLoop::LookAtClock(bool polled) {
  const uint64_t now = NowNs();
  if (polled && now > looked_ns_ + kAwayNs) {
    if (last_activity_ns_ != counted_from_ns_) away_ns_ = 0;  // there was an activity since
    const uint64_t away_ns = now - looked_ns_;
    if (away_ns_ < kAwayMaxNs) last_activity_ns_ = std::min(now, last_activity_ns_ + away_ns);
    away_ns_ += away_ns;
    counted_from_ns_ = last_activity_ns_;
  }
  looked_ns_ = now;
  return now;
}

void EventLoop::Loop() {
  may_poll_ = options_.poll_ns != 0 && MayPoll();
  if (may_poll_) context_.fills = fills_.get();
  uint32_t rounds = 0;
  uint64_t now = 0;
  bool polling = false;
  while (!stopping_.load(std::memory_order_relaxed)) {
    DrainInbox();
    const bool ran = RunRunnable();
    if (AnyRunnable()) {
      // A connection that never rests must not keep the others from being served, which epoll does
      // not tell of where they are polled, nor from being swept, nor itself, nor from their fills.
      if (may_poll_) ServeHot(last_activity_ns_);
      if (last_activity_ns_ < looked_round_ns_ + kShortTurnsNs) continue;
      looked_round_ns_ = last_activity_ns_;
      if (last_activity_ns_ >= next_sweep_ns_) Sweep(last_activity_ns_);
      EndReads(last_activity_ns_);
      HandleEvents(0);
      continue;
    }
    // A round that served somebody has looked at the clock.
    const bool look = polling ? rounds % kRoundsPerClock == 0 : !ran;
    if (look || fills_->outstanding() != 0) now = LookAtClock(polling);
    now = std::max(now, last_activity_ns_);
    polling = false;
    if (now >= next_sweep_ns_) Sweep(now);
    if (fills_->outstanding() != 0) {
      // Its own reads: worth polling for, because each ends soon or goes to a pager thread.
      EndReads(now);
      last_activity_ns_ = now;
    }
    const bool reading = fills_->outstanding() != 0;
    if (may_poll_ && (reading || !hot_.empty()) && PollHot(now)) {
      if (++rounds % kRoundsPerEpoll == 0 || reading) HandleEvents(0);
      polling = true;
      continue;
    }
    if (AnyRunnable()) continue;
    WatchPolled();
    if (AnyRunnable()) continue;
    sleeping_.store(true, std::memory_order_seq_cst);
    if (!inbox_full_.load(std::memory_order_seq_cst)) {
      const uint64_t nap_ns = waiting_ != 0 ? kNudgeNs : kSweepNs;
      const bool timed = waiting_ != 0 || unsettled_ != 0;
      const int found = HandleEvents(timed ? static_cast<int>(nap_ns / 1'000'000) : -1);
      if (found == 0 && waiting_ != 0) pager_->Nudge();
    }
    sleeping_.store(false, std::memory_order_relaxed);
  }
}

}  // namespace farpage
