// What memory pressure asks of write-back: pages that become clean without a sync.
#include <chrono>
#include <future>

#include "pager/dirty_pages.h"
#include "pager/harden.h"
#include "pager/write_back.h"

namespace farpage {

Result<WriteBackReceipt> WriteBack::RunHarden(const std::shared_ptr<Region>& region) {
  const RegionUse use(*region);
  if (!use.status().ok()) return use.status().error();
  const auto one_at_a_time = Pause(*region);
  if (Status hard = Harden(region); !hard.ok()) return hard.error();
  return WriteBackReceipt{};
}

void WriteBack::Behind(const std::shared_ptr<Region>& region) {
  // The file of any other is not written under pressure.
  if (!region->write_behind && !HasUnsynced(*region)) return;
  if (region->written_behind.load(std::memory_order_acquire)) return;
  if (!region->write_back.try_lock()) return;
  region->write_back.unlock();
  region->written_behind.store(true, std::memory_order_release);
  auto ended = std::make_shared<std::promise<void>>();
  std::future<void> end = ended->get_future();
  // A failure leaves the pages dirty and shows at the next sync, which reports it.
  WriteBackJob job{region, {0, region->table->pages()}, true, {}, !region->write_behind};
  job.done = [region, ended](const Result<WriteBackReceipt>&) {
    region->written_behind.store(false, std::memory_order_release);
    ended->set_value();
  };
  Submit(std::move(job));
  if (WriteBackLanes::IsSlow(*region)) return;
  (void)end.wait_for(std::chrono::nanoseconds(kBehindWaitNs));
}

bool WriteBack::HasUnsynced(Region& region) {
  if (!region.store->has_sink()) return false;
  PageTable& table = *region.table;
  return !EachDirtyChunkPage(table, 0, table.pages(), [&](PageIndex page) {
    return (table.Load(page) & kUnsynced) == 0;
  });
}

Status WriteBack::Harden(const std::shared_ptr<Region>& region) {
  std::vector<Batch> batches(1);
  batches[0].unsynced = UnsyncedRuns(*region);
  if (batches[0].unsynced.empty()) return {};
  Status synced = Finish(region, batches);
  TidySummary(*region->table, 0, region->table->pages());
  return synced;
}

}  // namespace farpage
