#include "pager/waiter_list.h"

namespace farpage {

size_t WaiterList::WakeAll(const std::shared_ptr<Region>& region, PageIndex page, Code code) {
  Shard& shard = ShardOf(region.get(), page);
  std::lock_guard<std::mutex> lock(shard.mutex);
  const auto [begin, end] = shard.waiters.equal_range(Key{region.get(), page});
  // Under the lock, so that Forget() really is the last word; Wake() does not block.
  size_t woken = 0;
  for (auto it = begin; it != end; ++it, ++woken) {
    it->second.waiter->Wake(FaultWake{it->second.token, region, page, code});
  }
  shard.waiters.erase(begin, end);
  return woken;
}

void WaiterList::Forget(FaultWaiter* waiter) {
  for (Shard& shard : shards_) {
    std::lock_guard<std::mutex> lock(shard.mutex);
    std::erase_if(shard.waiters, [&](const auto& item) { return item.second.waiter == waiter; });
  }
}

}  // namespace farpage
