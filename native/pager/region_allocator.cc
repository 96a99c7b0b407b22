#include "pager/region_allocator.h"

#include <algorithm>

namespace farpage {

using Stage = Reservation::Stage;

RegionAllocator::RegionAllocator(Options options)
    : options_(std::move(options)),
      ranges_(options_.mapped_bytes_max),
      thread_("allocate", [this] { Loop(); }) {}

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
  const uint64_t bytes = reservation->size_bytes;
  // One beyond the bound by itself takes its chance, but nobody is parked for it in vain.
  const bool fits = ranges_.MayFit(bytes);
  while (fits && !ranges_.HasRoom(bytes) && Park(bytes)) {
  }
  const bool first = reservation->region() == nullptr;
  const auto attempt = [&] {
    return first ? reservation->Allocate(this) : reservation->region()->memory->Map();
  };
  Status done = attempt();
  // The bound is a guess: a process may have fewer addresses, or as many mappings as it may.
  while (fits && !done.ok() && done.error().code == Code::kAddressSpace && Park(bytes)) {
    done = attempt();
  }
  if (!done.ok()) return done;
  const std::shared_ptr<Region> region = reservation->region();
  region->parked.store(false, std::memory_order_seq_cst);
  if (first) options_.add(region);
  if (region->memory->can_unmap()) ranges_.Add(reservation);
  reservation->Lead(region);
  return {};
}

// Takes the ranges of idle regions until `bytes` more are free; false: nothing was to be had.
bool RegionAllocator::Park(uint64_t bytes) {
  bool freed = false;
  // Those that are busy go to the end of the row, so that each is tried once.
  for (size_t left = ranges_.count(); left != 0 && !freed;) {
    const auto idle = ranges_.TakeIdle(bytes);
    if (idle.empty()) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (const auto& reservation : idle) reservation->stage = Stage::kChanging;
    }
    Reservation::LeadNowhere(idle);
    for (const auto& reservation : idle) freed = ParkOne(reservation) || freed;
    left -= std::min(left, idle.size());
  }
  return freed;
}

// Unmaps a region that no turn can reach any more; one that is busy can be reached again.
bool RegionAllocator::ParkOne(const std::shared_ptr<Reservation>& reservation) {
  const std::shared_ptr<Region> region = reservation->region();
  region->parked.store(true, std::memory_order_seq_cst);
  // Dirty pages of a private mapping are nowhere else.
  const bool bound = region->memory->has_private_copies() && region->table->dirty() != 0;
  const bool idle = !bound && region->jobs.load(std::memory_order_seq_cst) == 0;
  if (idle) {
    options_.while_no_sweep([&] { region->memory->Unmap(); });
    parked_.fetch_add(1, std::memory_order_relaxed);
  } else {
    region->parked.store(false, std::memory_order_seq_cst);
    ranges_.Add(reservation);
    reservation->Lead(region);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  reservation->stage = idle ? Stage::kReserved : Stage::kReachable;
  if (!idle) {
    WakeLocked(reservation, Code::kOk);
  } else if (waiters_.contains(reservation.get())) {
    // Touched meanwhile.
    reservation->stage = Stage::kQueued;
    queue_.push_back(reservation);
    wake_.notify_one();
  }
  return idle;
}

Status RegionAllocator::Regain(Region& region) {
  const std::shared_ptr<Reservation> reservation = region.reservation.lock();
  if (reservation == nullptr) return Error{Code::kRegionRemoved, 0, "regain"};
  return Allocate(reservation);
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
  ranges_.Remove(reservation.get());
  reservation->End();
}

void RegionAllocator::Forget(FaultWaiter* waiter) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::erase_if(waiters_, [&](const auto& item) { return item.second.waiter == waiter; });
}

}  // namespace farpage
