// What the pool of a RemoteTier need not keep any more.
#include <algorithm>

#include "fabric/remote_tier.h"

namespace farpage {

// Requires the lock.
void RemoteTier::Touch(uint64_t place) {
  const uint64_t group = place / kSlotGroup;
  if (group >= traces_.size()) traces_.resize(group + 1, Trace::kNone);
  traces_[group] = Trace::kPages;
}

// Requires the lock.
void RemoteTier::Take(uint64_t group, std::vector<PageRun>* runs) const {
  const uint64_t first = group * kSlotGroup;
  const uint64_t count = std::min(kSlotGroup, places_.slots() - first);
  if (!runs->empty() && runs->back().end() == first) {
    runs->back().count += count;
  } else {
    runs->push_back({first, count});
  }
}

RemoteTier::Freed RemoteTier::TakeFreed(bool last) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (renewed_) return {};
  Freed freed{pool_number_, {}};
  if (last) {
    for (uint64_t group = 0; group < traces_.size(); group++) {
      if (traces_[group] != Trace::kNone) Take(group, &freed.runs);
    }
    return freed;
  }
  // While the pool's appliance has no room none are taken away: those that were freed are used.
  if (forgetting_.empty() && MayGrow()) LookForFreed();
  freed.runs = forgetting_;
  return freed;
}

// Requires the lock.
void RemoteTier::LookForFreed() {
  const uint64_t part = places_.slots() / kSlotGroup / kFreedPart;
  // Who puts pages while the other side thinks about it has the other half.
  const uint64_t half = (places_.slots() - places_.used()) / 2 / kSlotGroup;
  const uint64_t most = std::min(half, std::clamp<uint64_t>(part, 1, kFreedGroupsMax));
  uint64_t taken = 0;
  uint64_t left = std::min<uint64_t>(traces_.size(), kLookedGroupsMax);
  for (; left != 0 && taken < most; left--) {
    if (looked_to_ >= traces_.size()) looked_to_ = 0;
    const uint64_t group = looked_to_++;
    Trace& trace = traces_[group];
    if (trace == Trace::kNone || !places_.IsFree(group)) continue;
    if (trace == Trace::kPages) {
      trace = Trace::kIdle;
      continue;
    }
    forgetting_places_ += places_.TakeGroup(group);
    Take(group, &forgetting_);
    taken++;
  }
  Count();
}

void RemoteTier::EndFreed(uint64_t pool, bool forgotten) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (pool != pool_number_) return;
  for (const PageRun& run : forgetting_) {
    places_.Release(run.first, run.count);
    for (PageIndex place = run.first; place < run.end(); place += kSlotGroup) {
      traces_[place / kSlotGroup] = forgotten ? Trace::kNone : Trace::kPages;
    }
  }
  forgetting_.clear();
  forgetting_places_ = 0;
  Count();
}

}  // namespace farpage
