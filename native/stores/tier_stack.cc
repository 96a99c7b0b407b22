#include "stores/tier_stack.h"

#include <algorithm>

#include "base/check.h"
#include "base/page_buffer.h"

namespace farpage {
namespace {

// Arrivals of a tier that may be outdated: as many as it has pages, and some.
constexpr uint64_t kOutdatedPart = 2;
constexpr uint64_t kOutdatedMin = 4096;

bool Above(const Tier& tier, uint64_t sixteenths) {
  return tier.used_bytes() > tier.capacity_bytes() / 16 * sixteenths;
}

}  // namespace

TierStack::TierStack(std::vector<std::unique_ptr<Tier>> tiers)
    : tiers_(std::move(tiers)), thread_("tier", [this] { Loop(); }) {
  FARPAGE_CHECK(tiers_.size() <= kTiersMax, "no more tiers than there is room for");
}

TierStack::~TierStack() { Close(); }

void TierStack::Close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  thread_.Join();
}

Result<std::shared_ptr<RegionTiers>> TierStack::Attach(uint64_t pages,
                                                       std::shared_ptr<FrameBudget> budget) {
  const uint64_t entry_pages = RegionTiers::EntryPages(pages);
  auto entries =
      Mapping::Anonymous((entry_pages << kPageShift) + entry_pages * sizeof(RegionTiers::Count));
  if (!entries.ok()) return entries.error();
  auto held = Summary::Create(pages);
  if (!held.ok()) return held.error();
  return std::shared_ptr<RegionTiers>(new RegionTiers(
      this, std::move(entries).value(), pages, std::move(held).value(), std::move(budget)));
}

TierStats TierStack::stats(size_t index) const {
  const Counters& from = levels_[index].counters;
  return {from.stored.load(std::memory_order_relaxed), from.loaded.load(std::memory_order_relaxed),
          from.demoted.load(std::memory_order_relaxed), from.lost.load(std::memory_order_relaxed)};
}

void TierStack::Put(size_t tier, std::span<TierPage> pages) {
  Tier& to = *tiers_[tier];
  if (to.gets_in_place()) {
    to.Put(pages);
    return;
  }
  TierWriters& writers = levels_[tier].writers;
  uint64_t began = 0;
  if (!writers.Begin(&began)) {
    for (TierPage& page : pages) {
      page.outcome = Error{Code::kTierAway, 0, "what the tier was given before hangs"};
    }
    return;
  }
  to.Put(pages);
  writers.End(began);
}

void TierStack::Arrive(size_t tier, const std::shared_ptr<RegionTiers>& region, PageIndex page,
                       uint32_t version) {
  if (tier + 1 >= tiers_.size()) return;
  Level& level = levels_[tier];
  std::lock_guard<std::mutex> lock(level.mutex);
  level.arrivals.push_back({region, page, version});
  if (level.arrivals.size() > kOutdatedPart * tiers_[tier]->pages() + kOutdatedMin) Wake();
}

void TierStack::Compact(size_t tier) {
  Level& level = levels_[tier];
  std::deque<Arrival> arrivals;
  {
    std::lock_guard<std::mutex> lock(level.mutex);
    if (level.arrivals.size() <= kOutdatedPart * tiers_[tier]->pages() + kOutdatedMin) return;
    arrivals.swap(level.arrivals);
  }
  // Not under the lock: who arrives holds the lock of an entry, which is asked for here.
  std::erase_if(arrivals, [](const Arrival& arrival) {
    const auto region = arrival.region.lock();
    return region == nullptr || !region->IsAt(arrival.page, arrival.version);
  });
  std::lock_guard<std::mutex> lock(level.mutex);
  arrivals.insert(arrivals.end(), level.arrivals.begin(), level.arrivals.end());
  level.arrivals.swap(arrivals);
}

void TierStack::Press(size_t tier) {
  if (tier + 1 < tiers_.size() && Above(*tiers_[tier], kTierHighMark)) Wake();
}

void TierStack::Wake() {
  if (pressed_.exchange(true, std::memory_order_acq_rel)) return;
  { std::lock_guard<std::mutex> lock(mutex_); }
  wake_.notify_one();
}

bool TierStack::DemoteSome(size_t tier) {
  struct Move {
    std::shared_ptr<RegionTiers> region;
    PageIndex page;
    RegionTiers::Entry found;
  };
  Level& level = levels_[tier];
  std::vector<Arrival> oldest;
  {
    std::lock_guard<std::mutex> lock(level.mutex);
    const size_t count = std::min(level.arrivals.size(), kDemoteBatchPages);
    const auto end = level.arrivals.begin() + static_cast<std::ptrdiff_t>(count);
    oldest.assign(level.arrivals.begin(), end);
    level.arrivals.erase(level.arrivals.begin(), end);
  }
  if (oldest.empty()) return false;
  const PageBuffer buffer(kDemoteBatchPages);
  if (buffer.data() == nullptr) return false;
  std::vector<Move> moves;
  std::vector<TierPage> moving;
  bool unread = false;
  for (const Arrival& arrival : oldest) {
    Move move{arrival.region.lock(), arrival.page, {}};
    if (move.region == nullptr) continue;
    std::byte* at = buffer.data() + (moves.size() << kPageShift);
    if (!move.region->BeginDemotion(move.page, arrival.version, at, &move.found)) {
      // It could not be read, unless it went: another time.
      if (!move.region->IsAt(move.page, arrival.version)) continue;
      Arrive(tier, move.region, move.page, arrival.version);
      unread = true;
      continue;
    }
    moving.push_back({at, 0, {}});
    moves.push_back(std::move(move));
  }
  Put(tier + 1, moving);
  bool moved = moves.empty() && !unread;  // outdated ones are progress too
  for (size_t n = 0; n < moves.size(); n++) {
    const Move& move = moves[n];
    if (!moving[n].outcome.ok()) {
      // No room below, or it hangs: it stays, and is the youngest now.
      Arrive(tier, move.region, move.page, move.found.version);
      continue;
    }
    if (move.region->EndDemotion(move.page, move.found, moving[n].slot)) {
      level.counters.demoted.fetch_add(1, std::memory_order_relaxed);
      levels_[tier + 1].counters.stored.fetch_add(1, std::memory_order_relaxed);
    }
    moved = true;
  }
  Press(tier + 1);
  return moved;
}

void TierStack::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_) {
    wake_.wait(lock, [this] { return closing_ || pressed_.load(std::memory_order_acquire); });
    pressed_.store(false, std::memory_order_release);
    lock.unlock();
    // From the bottom, so that there is room for what comes from above.
    for (size_t tier = tiers_.size(); tier-- > 1;) {
      Compact(tier - 1);
      if (!tiers_[tier - 1]->reachable() || !tiers_[tier]->reachable()) continue;
      while (!closing_ && Above(*tiers_[tier - 1], kTierLowMark) && DemoteSome(tier - 1)) {
      }
    }
    lock.lock();
  }
}

}  // namespace farpage
