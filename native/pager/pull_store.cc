// What a pull has brought, on its way into the store that keeps it.
//
// Only pages that no sync has ever written to the store are written here, each while it is claimed:
// FILLING if it came just now, COPYING if it was here. So no journal has it, and a sync that has it
// one day writes it later than this.
#include <algorithm>

#include "pager/harden.h"
#include "pager/page_change.h"
#include "pager/prefetcher.h"

namespace farpage {
namespace {

// Claims a page that is here and clean: it may be read and not written.
bool ClaimHere(PageTable& table, PageIndex page) {
  PageWord after = 0;
  const PageWord before = ChangePage(
      table, page,
      [](PageWord word) {
        if (StateOf(word) != PageState::kPresent || (word & kUnsafe) != 0) return word;
        return WithState(word & ~kWritable, PageState::kCopying);
      },
      &after);
  return before != after;
}

}  // namespace

// Begins to write a claimed run whose bytes are in region memory, and perhaps in a buffer.
void Prefetcher::Keep(Prefetch& job, ArrivedRun arrived) {
  job.batches[job.batch].Begin(*job.region, std::move(arrived));
  if (!job.batches[job.batch].full()) return;
  job.batch = 1 - job.batch;
  Settle(job, job.batches[job.batch]);
}

// Pages from `at` on that came from elsewhere, are here, and are kept nowhere yet. False: there are
// none.
bool Prefetcher::KeepHere(Prefetch& job) {
  Region& region = *job.region;
  const PageIndex end = std::min(job.origin_end, job.at + kPrefetchRunPages);
  PageRun run{job.at, 0};
  while (run.end() < end && ClaimHere(*region.table, run.end())) run.count++;
  if (run.count == 0) return false;
  // Asked again now that nobody can write them, as in StartRun.
  const PagesFrom from = region.memory->OriginOf(run);
  const bool remote = from.origin == PageOrigin::kRemote;
  const uint64_t wanted = remote ? std::min(from.pages, run.count) : 0;
  filler_.Release(job.region, {run.first + wanted, run.count - wanted}, 0);
  if (wanted == 0) {
    job.origin_end = job.at;
    return true;
  }
  run.count = wanted;
  job.at = run.end();
  job.unflushed_pages += run.count;
  Keep(job, {run, nullptr, {}});
  return true;
}

// True: the store has every page of the range but those that the next sync of an atomic region
// writes there, because only that may.
bool Prefetcher::KeepsAll(const Prefetch& job) {
  const Region& region = *job.region;
  if (!region.atomic) return NeededPages(region, job.range) == 0;
  PageRun rest = job.range;
  while (rest.count != 0) {
    const PagesFrom from = region.store->OriginOf(rest);
    const PageRun part{rest.first, std::min(from.pages, rest.count)};
    rest = {part.end(), rest.count - part.count};
    if (from.origin != PageOrigin::kRemote) continue;
    for (PageIndex page = part.first; page < part.end(); page++) {
      if ((region.table->Load(page) & (kDirty | kWriteback)) == 0) return false;
    }
  }
  return true;
}

// Waits for what is on its way into the store; false: nothing was.
bool Prefetcher::Settle(Prefetch& job) {
  const bool any = !job.batches[0].empty() || !job.batches[1].empty();
  for (PullBatch& batch : job.batches) Settle(job, batch);
  return any;
}

// Pages that the store has are UNSYNCED from now on. Those that it refused are DIRTY, and
// write-back puts them there; of an atomic region, where a sync would have to, they are what they
// were before: here and clean, or absent.
void Prefetcher::Settle(Prefetch& job, PullBatch& batch) {
  Region& region = *job.region;
  for (PulledRun& pulled : batch.End()) {
    const PageRun run = pulled.image.run;
    const Status& outcome = pulled.image.outcome;
    const bool was_here = pulled.arrived.bytes == nullptr;
    if (!outcome.ok() && region.atomic) {
      job.unflushed_pages -= std::min(run.count, job.unflushed_pages);
      Fail(job, outcome.error().code);
      if (was_here) {
        filler_.Release(job.region, run, 0);
      } else {
        GiveBack(job, run);
      }
      Recycle(std::move(pulled.arrived));
      continue;
    }
    if (was_here) {
      filler_.Release(job.region, run, kUnsynced | kStored);
    } else {
      filler_.Install(job.region, run, outcome.ok() ? kUnsynced | kStored : kDirty);
      job.filled_pages.fetch_add(run.count, std::memory_order_relaxed);
    }
    if (outcome.ok()) {
      region.fills.written_back_pages.fetch_add(run.count, std::memory_order_relaxed);
      region.fills.written_back_bytes.fetch_add(pulled.image.length_bytes,
                                                std::memory_order_relaxed);
      DoubtFailed(region, pulled);
    }
    Recycle(std::move(pulled.arrived));
  }
}

// Gives a run up whose bytes are in region memory, but cannot be kept.
void Prefetcher::GiveBack(Prefetch& job, PageRun run) {
  job.region->memory->Drop({&run, 1});
  Filler::ReturnFrames(*job.region, budget_, run.count);
  filler_.GiveUp(job.region, run, Code::kOk);
  job.failed_pages.fetch_add(run.count, std::memory_order_relaxed);
}

// A sync that failed since a run was begun may have been the one to hear that these bytes are lost,
// and it did not know these pages yet: they are written again.
void Prefetcher::DoubtFailed(Region& region, const PulledRun& pulled) {
  if (region.fills.failed_syncs.load(std::memory_order_seq_cst) == pulled.failed_syncs) return;
  std::unique_lock<std::mutex> no_instant;
  if (region.atomic) no_instant = WriteBack::Pause(region);
  const PageRun run = pulled.image.run;
  for (PageIndex page = run.first; page < run.end(); page++) {
    ChangePage(*region.table, page,
               [&](PageWord word) { return WrittenAgain(*region.table, word); });
  }
}

}  // namespace farpage
