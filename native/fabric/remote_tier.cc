#include "fabric/remote_tier.h"

#include <algorithm>
#include <condition_variable>

#include "base/clock.h"
#include "base/page.h"

namespace farpage {
namespace {

// One job's end, for who waits for it. The pool's deadline bounds that.
class Ending {
 public:
  void Tell(const Status& outcome, uint64_t door) {
    const std::lock_guard<std::mutex> lock(mutex_);
    outcome_ = outcome;
    door_ = door;
    told_ = true;
    told_now_.notify_one();  // under the lock: who waits may take this away right after
  }
  Status Wait(uint64_t* door) {
    std::unique_lock<std::mutex> lock(mutex_);
    told_now_.wait(lock, [this] { return told_; });
    *door = door_;
    return outcome_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_now_;
  bool told_ = false;
  Status outcome_;
  uint64_t door_ = 0;
};

constexpr uint64_t kPlaceMask = (uint64_t{1} << RemoteTier::kPlaceBits) - 1;

uint64_t PlaceOf(TierSlot slot) { return slot & kPlaceMask; }
uint64_t PoolOf(TierSlot slot) { return slot >> RemoteTier::kPlaceBits; }

// WRITEs of pages, neighbours in one, and a fence: what it ends with is the end of all.
std::vector<WorkRequest> WritesOf(std::span<const TierPage> pages) {
  std::vector<WorkRequest> requests;
  for (const TierPage& page : pages) {
    const uint64_t offset = PlaceOf(page.slot) << kPageShift;
    if (!requests.empty()) {
      WorkRequest& last = requests.back();
      const bool follows = last.remote_offset + last.length_bytes == offset &&
                           last.local + last.length_bytes == page.bytes;
      if (follows && last.length_bytes + kPageBytes <= RemoteTier::kWriteBytesMax) {
        last.length_bytes += static_cast<uint32_t>(kPageBytes);
        continue;
      }
    }
    WorkRequest write;
    write.opcode = Opcode::kWrite;
    write.remote_offset = offset;
    write.length_bytes = static_cast<uint32_t>(kPageBytes);
    write.local = const_cast<std::byte*>(page.bytes);  // it is read only
    requests.push_back(write);
  }
  requests.emplace_back();  // a READ of nothing
  return requests;
}

}  // namespace

RemoteTier::RemoteTier(RemoteTierOptions options)
    : options_(std::move(options)),
      connection_({options_.deadline_ns, options_.need_door,
                   [this](const PoolDoor& door, uint64_t number) {
                     return OnOpened(door, number);
                   },
                   [this] { return OnGone(); }}) {}

// Requires the lock.
void RemoteTier::BeginPool(uint64_t bytes) {
  pool_number_ = pool_number_ % kPoolNumberMax + 1;
  places_ = SlotMap(bytes >> kPageShift);
  freed_.clear();
  full_until_ns_ = 0;
  traces_.clear();
  forgetting_.clear();
  forgetting_places_ = 0;
}

// Requires the lock.
void RemoteTier::Count() {
  const uint64_t free = freed_.size() + forgetting_places_;
  used_.store((places_.used() - free) << kPageShift, std::memory_order_relaxed);
}

// Whether places may be taken where no page was lately. Requires the lock.
bool RemoteTier::MayGrow() {
  if (full_until_ns_ == 0) return true;
  if (NowNs() < full_until_ns_) return false;
  full_until_ns_ = 0;
  for (const uint64_t place : freed_) places_.Release(place, 1);
  freed_.clear();
  return true;
}

// On the pool's thread, before anybody else hears of it: a connection has ended by this.
void RemoteTier::OnFull() {
  const std::lock_guard<std::mutex> lock(mutex_);
  takes_none_ = !MayGrow();
  if (full_until_ns_ == 0) full_until_ns_ = NowNs() + kFullNs;
}

// Told again and again as long as it is.
uint64_t RemoteTier::OnGone() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (pool_number_ != 0 && places_.slots() == 0) return pool_number_;
  BeginPool(0);
  suspects_.clear();
  capacity_.store(0, std::memory_order_relaxed);
  used_.store(0, std::memory_order_relaxed);
  return pool_number_;
}

void RemoteTier::Open(PoolDoor door) {
  if (door.fresh) {
    const std::lock_guard<std::mutex> lock(mutex_);
    renewed_ = true;
  }
  connection_.Open(std::move(door));
}

// The connection before has gone, and its session: what was on its way there is no more.
uint64_t RemoteTier::OnOpened(const PoolDoor& door, uint64_t number) {
  const uint64_t most = (kPlaceMask + 1) << kPageShift;
  uint64_t bytes = std::min(door.length_bytes, most);
  if (options_.capacity_bytes != 0) bytes = std::min(bytes, options_.capacity_bytes);
  const std::lock_guard<std::mutex> lock(mutex_);
  door_ = number;
  // Also where another door has led to the new pool first, and no connection came of it.
  if (door.fresh || renewed_ || pool_number_ == 0) {
    BeginPool(bytes);
    renewed_ = false;
  } else {
    for (const Suspect& each : suspects_) places_.Release(each.place, 1);
  }
  suspects_.clear();
  capacity_.store(places_.slots() << kPageShift, std::memory_order_relaxed);
  Count();
  return pool_number_;
}

size_t RemoteTier::TakePlaces(std::span<TierPage> pages, uint64_t* pool) {
  const std::lock_guard<std::mutex> lock(mutex_);
  *pool = pool_number_;
  size_t taken = 0;
  const bool grows = MayGrow();
  while (!grows && !takes_none_ && taken < pages.size() && !freed_.empty()) {
    Touch(freed_.back());
    pages[taken++].slot = pool_number_ << kPlaceBits | freed_.back();
    freed_.pop_back();
  }
  while (grows && taken < pages.size()) {
    uint64_t first = 0;
    const uint64_t count = places_.Take(pages.size() - taken, &first);
    if (count == 0) break;
    for (uint64_t n = 0; n < count; n++) {
      Touch(first + n);
      pages[taken++].slot = pool_number_ << kPlaceBits | (first + n);
    }
  }
  Count();
  return taken;
}

// Of WRITEs that failed: places may be used again once nothing can arrive there late.
void RemoteTier::GiveBack(std::span<const TierPage> pages, uint64_t pool, uint64_t door) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (pool != pool_number_) return;
  for (const TierPage& page : pages) {
    if (door == door_) {
      suspects_.push_back({PlaceOf(page.slot), door});
    } else {
      places_.Release(PlaceOf(page.slot), 1);
    }
  }
  Count();
}

void RemoteTier::Put(std::span<TierPage> pages) {
  const bool away = !reachable() || capacity_bytes() == 0;
  const Status refused = away ? Error{Code::kTierAway, 0, "the pool cannot be reached"}
                              : Error{Code::kNoSpace, 0, "the pool is full"};
  uint64_t pool = 0;
  const size_t taken = away ? 0 : TakePlaces(pages, &pool);
  for (TierPage& page : pages.subspan(taken)) page.outcome = refused;
  if (taken == 0) return;
  const auto sent = pages.first(taken);
  Ending ending;
  auto job = std::make_unique<PoolJob>();
  job->requests = WritesOf(sent);
  job->pool = pool;
  job->done = [this, &ending](const Status& outcome, uint64_t door) {
    if (!outcome.ok() && outcome.error().code == Code::kNoSpace) OnFull();
    ending.Tell(outcome, door);
  };
  connection_.Submit(std::move(job));
  uint64_t door = 0;
  const Status outcome = ending.Wait(&door);
  for (TierPage& page : sent) page.outcome = outcome;
  if (outcome.ok()) {
    pages_.fetch_add(taken, std::memory_order_relaxed);
  } else {
    GiveBack(sent, pool, door);
  }
}

void RemoteTier::StartGet(TierSlot slot, std::byte* into, TierDone done) {
  WorkRequest read;
  read.remote_offset = PlaceOf(slot) << kPageShift;
  read.length_bytes = static_cast<uint32_t>(kPageBytes);
  read.local = into;
  auto job = std::make_unique<PoolJob>();
  job->requests.push_back(read);
  job->pool = PoolOf(slot);
  job->done = [done = std::move(done)](const Status& outcome, uint64_t) { done(outcome); };
  connection_.Submit(std::move(job));
}

Status RemoteTier::Get(TierSlot slot, std::byte* into) {
  Ending ending;
  StartGet(slot, into, [&ending](const Status& outcome) { ending.Tell(outcome, 0); });
  uint64_t door = 0;
  return ending.Wait(&door);
}

void RemoteTier::Free(TierSlot slot) {
  pages_.fetch_sub(1, std::memory_order_relaxed);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (PoolOf(slot) != pool_number_) return;
  if (MayGrow()) {
    places_.Release(PlaceOf(slot), 1);
  } else {
    freed_.push_back(PlaceOf(slot));
  }
  Count();
}

}  // namespace farpage
