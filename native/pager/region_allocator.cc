#include "pager/region_allocator.h"

#include <algorithm>

namespace farpage {

using Stage = Reservation::Stage;

RegionAllocator::RegionAllocator(std::function<void(std::shared_ptr<Region>)> add)
    : add_(std::move(add)), thread_("allocate", [this] { Loop(); }) {}

RegionAllocator::~RegionAllocator() { Close(); }

void RegionAllocator::Close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  thread_.Join();
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& reservation : queue_) WakeLocked(reservation, Code::kClosed);
  queue_.clear();
}

FaultOutcome RegionAllocator::Want(const std::shared_ptr<Reservation>& reservation,
                                   FaultWaiter* waiter, uint64_t token) {
  FaultOutcome outcome;
  std::lock_guard<std::mutex> lock(mutex_);
  if (closing_ || reservation->stage == Stage::kEnded) {
    outcome.next = FaultOutcome::Next::kFailed;
    outcome.code = Code::kRegionRemoved;
    return outcome;
  }
  if (reservation->stage == Stage::kReachable) {
    outcome.next = FaultOutcome::Next::kAgain;
    return outcome;
  }
  if (waiter != nullptr) {
    const auto [begin, end] = waiters_.equal_range(reservation.get());
    const auto same = [&](const auto& item) {
      return item.second.waiter == waiter && item.second.token == token;
    };
    if (std::find_if(begin, end, same) == end) {
      waiters_.emplace(reservation.get(), Entry{waiter, token});
    }
  }
  if (reservation->stage == Stage::kReserved) {
    reservation->stage = Stage::kQueued;
    queue_.push_back(reservation);
    wake_.notify_one();
  }
  outcome.next = FaultOutcome::Next::kPending;
  return outcome;
}

void RegionAllocator::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (closing_) return;
    const std::shared_ptr<Reservation> reservation = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    (void)Allocate(reservation);
    lock.lock();
  }
}

Status RegionAllocator::Allocate(const std::shared_ptr<Reservation>& reservation) {
  std::lock_guard<std::mutex> work(work_mutex_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (reservation->stage == Stage::kReachable) return {};
    if (reservation->stage == Stage::kEnded) return Error{Code::kRegionRemoved, 0, "allocate"};
    reservation->stage = Stage::kChanging;
  }
  const Status done = MakeReachable(reservation);
  reservation->failure.store(done.error().code, std::memory_order_relaxed);
  std::lock_guard<std::mutex> lock(mutex_);
  reservation->stage = done.ok() ? Stage::kReachable : Stage::kReserved;
  WakeLocked(reservation, done.error().code);
  return done;
}

Status RegionAllocator::MakeReachable(const std::shared_ptr<Reservation>& reservation) {
  if (Status allocated = reservation->Allocate(); !allocated.ok()) return allocated;
  const std::shared_ptr<Region> region = reservation->region();
  add_(region);
  reservation->Lead(region);
  return {};
}

void RegionAllocator::WakeLocked(const std::shared_ptr<Reservation>& reservation, Code code) {
  const auto [begin, end] = waiters_.equal_range(reservation.get());
  // Under the lock, so that Forget() really is the last word; Wake() does not block.
  for (auto it = begin; it != end; ++it) {
    it->second.waiter->Wake({it->second.token, nullptr, 0, code, reservation});
  }
  waiters_.erase(begin, end);
}

void RegionAllocator::End(const std::shared_ptr<Reservation>& reservation) {
  std::lock_guard<std::mutex> work(work_mutex_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    reservation->stage = Stage::kEnded;
    WakeLocked(reservation, Code::kRegionRemoved);
  }
  reservation->End();
}

void RegionAllocator::Forget(FaultWaiter* waiter) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(waiters_, [&](const auto& item) { return item.second.waiter == waiter; });
}

}  // namespace farpage
