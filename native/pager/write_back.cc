#include "pager/write_back.h"

#include <time.h>

#include <algorithm>
#include <span>

#include "base/clock.h"
#include "pager/dirty_pages.h"
#include "pager/harden.h"
#include "pager/lost_pages.h"
#include "pager/page_change.h"
#include "pager/store_stands.h"

namespace farpage {
namespace {

template <typename Each>
void ForEachPage(const std::vector<PageRun>& runs, Each each) {
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end(); page++) each(page);
  }
}

// What a store is handed: runs in parts of at most `pages_max` pages.
std::vector<PageImage> ImagesOf(const Region& region, std::span<const PageRun> runs,
                                uint64_t pages_max) {
  std::vector<PageImage> images;
  for (const PageRun& run : runs) {
    for (PageIndex first = run.first; first < run.end(); first += pages_max) {
      const PageRun part{first, std::min(pages_max, run.end() - first)};
      images.push_back({part, region.memory->address() + part.offset_bytes(),
                        region.BytesIn(part), {}});
    }
  }
  return images;
}

}  // namespace

WriteBack::WriteBack(Shootdown& shootdown, WaiterList& waiters, FrameBudget& budget)
    : shootdown_(shootdown),
      waiters_(waiters),
      budget_(budget),
      lanes_([this](WriteBackJob job) {
        auto outcome = job.hardens ? RunHarden(job.region) : Run(job.region, job.run, job.durable);
        job.region->jobs.fetch_sub(1, std::memory_order_acq_rel);
        job.region.reset();
        job.done(std::move(outcome));
      }) {}

WriteBack::~WriteBack() { Close(); }

void WriteBack::Submit(std::shared_ptr<Region> region, PageRun run, bool durable,
                       WriteBackDone done) {
  Submit({std::move(region), run, durable, std::move(done)});
}

void WriteBack::SubmitHarden(std::shared_ptr<Region> region, WriteBackDone done) {
  const PageRun all{0, region->table->pages()};
  Submit({std::move(region), all, true, std::move(done), true});
}

void WriteBack::Submit(WriteBackJob job) {
  const Code refused = lanes_.Submit(job);
  if (refused != Code::kOk) job.done(Error{refused, 0, "submit write-back"});
}

Result<WriteBackReceipt> WriteBack::Run(const std::shared_ptr<Region>& region, PageRun run,
                                        bool durable) {
  // Nothing of a parked region becomes dirty: no range is taken only to find that out.
  if (region->parked.load(std::memory_order_seq_cst) && region->table->dirty() == 0) {
    if (!region->store->has_sink()) return WriteBackReceipt{};
    if (Status stands = StoreStands(*region->store); !stands.ok()) return stands.error();
    return WriteBackReceipt{};
  }
  const RegionUse use(*region);
  if (!use.status().ok()) return use.status().error();
  const auto one_at_a_time = Pause(*region);
  return RunLocked(region, run, durable);
}

Result<WriteBackReceipt> WriteBack::RunLocked(const std::shared_ptr<Region>& region, PageRun run,
                                              bool durable) {
  WriteBackReceipt receipt;
  const uint64_t started = NowNs();
  if (!region->store->has_sink()) return receipt;
  if (region->atomic) return Error{Code::kUnsupported, 0, "an atomic region is synced as a whole"};
  const PageIndex end = std::min(run.end(), region->table->pages());
  std::vector<Batch> batches;
  bool any = false;
  bool waits = false;  // nothing is held: a page that is on its way may be waited for
  Status failure;      // the first
  const auto note = [&failure](Status status) {
    if (!status.ok() && failure.ok()) failure = std::move(status);
  };
  for (PageIndex next = run.first; next < end;) {
    Batch batch = Collect(*region, next, end, durable, waits);
    next = batch.next;
    if (batch.lost) note(Error{Code::kPageLost, 0, "a dirty page was lost before it was written"});
    if (batch.moving) note(Error{Code::kTimeout, 0, "a dirty page did not come to rest"});
    if (batch.pages == 0 && !batch.busy) break;
    waits = batch.busy;
    if (!batch.writing.empty()) {
      shootdown_.WaitGracePeriod();
      note(WriteBatch(*region, batch, &receipt));
    }
    if (!batch.elsewhere.empty()) note(WriteElsewhere(region, batch, &receipt));
    if (batch.pages != 0) batches.push_back(std::move(batch));
    any = any || !batches.empty();
    if (!waits) continue;
    // Nor does it keep what was written, and only lacks durability, from leaving memory.
    if (!batches.empty()) note(Finish(region, batches));
    batches.clear();
    note(Harden(region));
  }
  if (durable && !batches.empty()) note(Finish(region, batches));
  if (any) TidySummary(*region->table, run.first, end);
  // Nothing was written: that it is in the file of that name is said all the same.
  if (!any && failure.ok()) {
    if (Status stands = StoreStands(*region->store); !stands.ok()) return stands.error();
  }
  receipt.elapsed_ns = NowNs() - started;
  if (!failure.ok()) {
    region->fills.write_back_failure.store(failure.error().code, std::memory_order_relaxed);
    return failure.error();
  }
  // A part that did well says nothing of the pages that did not.
  if (receipt.pages_written != 0 || region->table->dirty() == 0) {
    region->fills.write_back_failure.store(Code::kOk, std::memory_order_relaxed);
  }
  return receipt;
}

// fdatasync, and what follows from its outcome.
Status WriteBack::Finish(const std::shared_ptr<Region>& region,
                         const std::vector<Batch>& batches) {
  Status synced = region->store->MakeDurable();
  if (!synced.ok()) {
    Redirty(*region);
    return synced;
  }
  for (const Batch& batch : batches) Settle(*region, batch);
  for (const Batch& batch : batches) ForgetClean(region, batch.written);
  // Only when the pages are safe: until then the private copy is the one to write again. That of
  // a page that went around the page cache is kept without asking.
  if (!region->memory->has_private_copies()) return synced;
  for (const Batch& batch : batches) {
    DropPrivateCopies(region, batch.cached);
    DropPrivateCopies(region, batch.unsynced);
  }
  return synced;
}

WriteBack::Found WriteBack::Take(PageTable& table, PageIndex page, bool durable, bool waits) {
  uint64_t give_up_ns = 0;  // a look at the clock takes longer than one at a page
  for (PageWord word = table.Load(page);;) {
    if ((word & kDirty) == 0) {
      return durable && (word & kUnsynced) != 0 ? Found::kInStore : Found::kNothing;
    }
    const PageState state = StateOf(word);
    if (state == PageState::kLost) return Found::kGone;
    if (state == PageState::kFilling || state == PageState::kEvicting) {
      if (!waits) return Found::kBusy;
      // Into the overlay or out of it: as long as its device takes.
      const uint64_t now = NowNs();
      if (give_up_ns == 0) give_up_ns = now + kMovingWaitNs;
      if (now > give_up_ns) return Found::kMoving;
      const timespec nap{0, 100'000};
      ::nanosleep(&nap, nullptr);
      word = table.Load(page);
      continue;
    }
    const bool elsewhere = state == PageState::kAbsent;
    // Not WRITABLE while the write is under way: the next write faults, which takes no device, and
    // tells DropPrivateCopies that the private copy is in use again.
    const PageWord taken = (word & ~(kDirty | kWritable)) | kWriteback;
    if (table.Change(page, word, elsewhere ? WithState(taken, PageState::kFilling) : taken)) {
      return elsewhere ? Found::kInTier : Found::kHere;
    }
  }
}

WriteBack::Batch WriteBack::Collect(Region& region, PageIndex from, PageIndex end, bool durable,
                                    bool waits) {
  Batch batch;
  Summary& summary = region.table->dirty_summary();
  PageIndex page = from;
  for (uint64_t chunk = summary.Next(from / kSummaryPages);
       chunk < summary.chunks() && chunk * kSummaryPages < end; chunk = summary.Next(chunk + 1)) {
    page = std::max(from, chunk * kSummaryPages);
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    for (; page < last; page++) {
      if (batch.pages == kWriteBackBatchPages || batch.elsewhere_pages == kElsewherePagesMax) {
        batch.next = page;
        return batch;
      }
      // What was taken holds its frames until it is written, and whoever moves this page may need
      // one: nothing is held while it is waited for.
      switch (Take(*region.table, page, durable, waits && batch.pages == 0)) {
        case Found::kBusy:
          batch.next = page;
          batch.busy = true;
          return batch;
        case Found::kNothing: break;
        case Found::kGone: batch.lost = true; break;
        case Found::kMoving: batch.moving = true; break;
        case Found::kHere:
          AppendPage(batch.writing, page);
          batch.pages++;
          break;
        case Found::kInStore:
          AppendPage(batch.unsynced, page);
          batch.pages++;
          break;
        case Found::kInTier:
          AppendPage(batch.elsewhere, page);
          batch.pages++;
          batch.elsewhere_pages++;
          break;
      }
    }
  }
  batch.next = end;
  return batch;
}

Status WriteBack::WriteBatch(Region& region, Batch& batch, WriteBackReceipt* receipt) {
  std::vector<PageImage> images =
      ImagesOf(region, batch.writing, kImageBytesMax >> kPageShift);
  MemoryFiles* files = region.table->files();
  if (files != nullptr) files->BeginWrite();
  const Status failure = region.store->Write(images);
  if (failure.ok()) WriteSingly(region, images);
  if (files != nullptr) files->EndWrite(region.store->Identity());
  for (const PageImage& image : images) {
    const bool written = failure.ok() && image.outcome.ok();
    for (PageIndex page = image.run.first; page < image.run.end(); page++) {
      ChangePage(*region.table, page, [&](PageWord word) {
        if (written) return (word & ~kWriteback) | kUnsynced | kStored;
        return (word & ~kWriteback) | kDirty;
      });
    }
    if (!written) {
      // Cutting a file takes the private copies beyond its new end with it (truncate(2) unmaps them
      // too). What they held is gone: if the file grew again, its zeros must not be written for it.
      if (image.outcome.error().code == Code::kFileChanged) {
        LoseUnreadable(region, budget_, image.run);
      }
      continue;
    }
    if (!batch.written.empty() && batch.written.back().end() == image.run.first) {
      batch.written.back().count += image.run.count;
    } else {
      batch.written.push_back(image.run);
    }
    if (!image.around_cache) batch.cached.push_back(image.run);
    receipt->pages_written += image.run.count;
    receipt->bytes_written += image.length_bytes;
    region.fills.written_back_pages.fetch_add(image.run.count, std::memory_order_relaxed);
    region.fills.written_back_bytes.fetch_add(image.length_bytes, std::memory_order_relaxed);
  }
  if (!failure.ok()) return failure;
  for (const PageImage& image : images) {
    if (!image.outcome.ok()) return image.outcome;
  }
  return {};
}

// One bad page (a hole in a full file system, an end that was cut off) must not keep the pages
// written together with it from the store: images that failed are tried again page by page.
void WriteBack::WriteSingly(Region& region, std::vector<PageImage>& images) {
  std::vector<PageRun> failed;
  for (const PageImage& image : images) {
    if (!image.outcome.ok() && image.run.count > 1) failed.push_back(image.run);
  }
  if (failed.empty()) return;
  std::erase_if(images, [](const PageImage& image) {
    return !image.outcome.ok() && image.run.count > 1;
  });
  std::vector<PageImage> singles = ImagesOf(region, failed, 1);
  const Status attempted = region.store->Write(singles);
  for (PageImage& single : singles) {
    if (!attempted.ok()) single.outcome = attempted;
    images.push_back(single);
  }
  std::sort(images.begin(), images.end(), [](const PageImage& a, const PageImage& b) {
    return a.run.first < b.run.first;
  });
}

void WriteBack::Settle(Region& region, const Batch& batch) {
  MarkDurable(*region.table, batch.written);
  MarkDurable(*region.table, batch.unsynced);
}

void WriteBack::DropPrivateCopies(const std::shared_ptr<Region>& region,
                                  const std::vector<PageRun>& runs) {
  std::vector<PageRun> dropping;
  uint64_t pages = 0;
  const auto drop = [&] {
    // No grace period: writers were shut out, with one, when the pages became WRITEBACK.
    region->memory->DropPrivateCopies(dropping);
    ForEachPage(dropping, [&](PageIndex page) {
      const PageWord before = ChangePage(*region->table, page, [](PageWord word) {
        return WithState(word & ~kWaiters, PageState::kPresent);
      });
      if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, Code::kOk);
    });
    dropping.clear();
    pages = 0;
  };
  ForEachPage(runs, [&](PageIndex page) {
    PageWord after = 0;
    ChangePage(
        *region->table, page,
        [](PageWord word) {
          // Written again meanwhile (WRITABLE came back with the fault): the copy is in use.
          const bool idle = StateOf(word) == PageState::kPresent &&
                            (word & (kUnsafe | kWritable)) == 0;
          return idle ? WithState(word, PageState::kCopying) : word;
        },
        &after);
    if (StateOf(after) != PageState::kCopying) return;
    AppendPage(dropping, page);
    if (++pages == kCopyingPagesMax) drop();
  });
  if (pages != 0) drop();
}

}  // namespace farpage
