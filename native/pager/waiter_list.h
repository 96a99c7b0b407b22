// Who waits for which page.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "memory/fault_handler.h"

namespace farpage {

// Waiters by page, in shards so that fills that end together do not queue on one lock. A lock is
// right here: entries are made and taken on the cold path only, by many threads, for a few
// instructions. Bound: one entry per token and page it waits for, however often a front door asks
// again meanwhile. Thread: any.
class WaiterList {
 public:
  // Adds a waiter that does not wait for the page yet under this token, unless `still_waiting()`
  // says, under the shard's lock, that the page has changed already; returns what it said.
  template <typename StillWaiting>
  bool Add(const Region* region, PageIndex page, FaultWaiter* waiter, uint64_t token,
           StillWaiting still_waiting) {
    Shard& shard = ShardOf(region, page);
    std::lock_guard<std::mutex> lock(shard.mutex);
    if (!still_waiting()) return false;
    const auto [begin, end] = shard.waiters.equal_range(Key{region, page});
    const auto same = [&](const auto& item) {
      return item.second.waiter == waiter && item.second.token == token;
    };
    if (std::find_if(begin, end, same) == end) {
      shard.waiters.emplace(Key{region, page}, Entry{waiter, token});
    }
    return true;
  }

  // Removes and wakes all who wait for the page; returns how many.
  size_t WakeAll(const std::shared_ptr<Region>& region, PageIndex page, Code code);

  // Removes everything of one waiter.
  void Forget(FaultWaiter* waiter);

 private:
  struct Key {
    const Region* region;
    PageIndex page;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const {
      const uint64_t mix = (reinterpret_cast<uintptr_t>(key.region) >> 4) ^
                           (key.page * 0x9e3779b97f4a7c15u);
      return static_cast<size_t>(mix ^ (mix >> 29));
    }
  };
  struct Entry {
    FaultWaiter* waiter;
    uint64_t token;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_multimap<Key, Entry, Hash> waiters;
  };
  static constexpr size_t kShards = 64;
  Shard& ShardOf(const Region* region, PageIndex page) {
    return shards_[Hash{}(Key{region, page}) % kShards];
  }
  std::array<Shard, kShards> shards_;
};

}  // namespace farpage
