// Write-back of pages that are in the overlay: by a buffer, not by region memory.
#include "base/page_buffer.h"
#include "pager/page_change.h"
#include "pager/write_back.h"

namespace farpage {

// The batch's pages are claimed (FILLING, WRITEBACK); all of them are let go of again. Region
// memory is not asked for room: a sync of more pages than there are frames takes none.
Status WriteBack::WriteElsewhere(const std::shared_ptr<Region>& region, Batch& batch,
                                 WriteBackReceipt* receipt) {
  const PageBuffer buffer(batch.elsewhere_pages);
  Status failure;
  std::vector<PageImage> images;
  const auto settle = [&](PageIndex page, const Status& outcome) {
    const bool lost = outcome.error().code == Code::kPageLost;
    if (lost) region->overlay->Forget(page);
    const PageWord before = ChangePage(*region->table, page, [&](PageWord word) {
      const PageWord rest = word & ~(kWriteback | kWaiters);
      if (outcome.ok()) return WithState(rest | kUnsynced | kStored, PageState::kAbsent);
      if (lost) return WithState((rest & ~kElsewhere) | kDirty, PageState::kLost);
      return WithState(rest | kDirty, PageState::kAbsent);
    });
    const Code code = lost ? Code::kPageLost : Code::kOk;
    if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, code);
    if (!outcome.ok() && failure.ok()) failure = outcome;
  };
  std::byte* at = buffer.data();
  for (const PageRun& run : batch.elsewhere) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      Status loaded = at == nullptr ? Status(Error{Code::kMemoryFull, 0, "aligned_alloc"})
                                    : region->overlay->Load(page, at);
      if (!loaded.ok()) {
        settle(page, loaded);
        continue;
      }
      images.push_back({{page, 1}, at, region->BytesIn({page, 1}), {}});
      at += kPageBytes;
    }
  }
  if (images.empty()) return failure;
  const Status attempted = region->store->Write(images);
  for (PageImage& image : images) {
    if (!attempted.ok()) image.outcome = attempted;
    settle(image.run.first, image.outcome);
    if (!image.outcome.ok()) continue;
    AppendPage(batch.written, image.run.first);
    if (!image.around_cache) AppendPage(batch.cached, image.run.first);
    receipt->pages_written++;
    receipt->bytes_written += image.length_bytes;
    region->fills.written_back_pages.fetch_add(1, std::memory_order_relaxed);
    region->fills.written_back_bytes.fetch_add(image.length_bytes, std::memory_order_relaxed);
  }
  return failure;
}

// What the store has durably needs no copy in the overlay.
void WriteBack::ForgetClean(const std::shared_ptr<Region>& region,
                            const std::vector<PageRun>& runs) {
  if (region->overlay == nullptr) return;
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      PageWord word = region->table->Load(page);
      const bool clean = StateOf(word) == PageState::kAbsent && (word & kElsewhere) != 0 &&
                         (word & kUnsafe) == 0;
      // Claimed like a fill: who touches it meanwhile waits, and then asks the store.
      if (!clean) continue;
      if (!region->table->Change(page, word, WithState(word, PageState::kFilling))) continue;
      region->overlay->Forget(page);
      const PageWord before = ChangePage(*region->table, page, [](PageWord now) {
        return WithState(now & ~(kElsewhere | kWaiters), PageState::kAbsent);
      });
      if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, Code::kOk);
    }
  }
}

}  // namespace farpage
