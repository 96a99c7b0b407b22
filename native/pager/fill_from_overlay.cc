// Fills of pages whose newest bytes are in a tier.
#include <algorithm>
#include <memory>

#include "base/page_buffer.h"
#include "memory/region_copy.h"
#include "pager/filler.h"
#include "pager/page_change.h"

namespace farpage {
namespace {

std::byte* AddressOf(const Region& region, PageIndex page) {
  return region.memory->address() + (page << kPageShift);
}

// Puts bytes of a page where its file may have been cut: no private copy can be made there then,
// and what was dirty is lost like the rest.
Status PutPrivately(const Region& region, PageIndex page, const std::byte* bytes) {
  if (CopyToRegion(AddressOf(region, page), bytes, kPageBytes)) return {};
  return Error{Code::kPageLost, 0, "the file was cut below a page from a tier"};
}

// Takes a claimed page into its region. Tiers write bytes as they are, so into private copies by
// way of a buffer.
Status TakePage(const Region& region, PageIndex page, bool in_place) {
  const auto take = [&](std::byte* into) {
    return in_place ? region.overlay->TakeInPlace(page, into) : region.overlay->Take(page, into);
  };
  if (!region.memory->has_private_copies()) return take(AddressOf(region, page));
  thread_local const PageBuffer buffer(1);
  if (buffer.data() == nullptr) return Error{Code::kMemoryFull, 0, "aligned_alloc"};
  const Status taken = take(buffer.data());
  return taken.ok() ? PutPrivately(region, page, buffer.data()) : taken;
}

}  // namespace

// Pages that are taken out of tiers together, until the last one has come or was given up.
struct Filler::Takes {
  std::atomic<uint64_t> left;
  TakesDone done;
  std::atomic<uint64_t> failed{0};

  void End(uint64_t pages, uint64_t failed_pages) {
    failed.fetch_add(failed_pages, std::memory_order_relaxed);
    if (left.fetch_sub(pages, std::memory_order_acq_rel) == pages) done(failed.load());
  }
};

void Filler::TakeFromOverlay(const std::shared_ptr<Region>& region, PageRun run, TakesDone done) {
  auto takes = std::make_shared<Takes>();
  takes->left = run.count;
  takes->done = std::move(done);
  Status status;
  (void)FillFromOverlay(region, run, FromOverlay::kStarted, &status, takes);
}

uint64_t Filler::FillFromOverlay(const std::shared_ptr<Region>& region, PageRun run,
                                 FromOverlay how, Status* status,
                                 const std::shared_ptr<Takes>& takes) {
  const bool in_place = how == FromOverlay::kInPlace;
  PageRun rest = run;
  // Into private copies one by one: of a file that was cut only its own pages are lost.
  const bool together = !in_place && !region->memory->has_private_copies();
  if (together && run.count > kTakenSinglyMax) {
    rest.first += TakeFromMemory(region, run, takes.get());
    rest.count = run.end() - rest.first;
    if (rest.count == 0) return run.count;
  }
  *status = region->memory->MakeRoom(rest);
  if (!status->ok()) {
    if (in_place) return 0;
    ReturnFrames(*region, budget_, rest.count);
    GiveUp(region, rest, status->error().code);
    if (takes != nullptr) takes->End(rest.count, rest.count);
    return run.count;
  }
  const bool asks = how == FromOverlay::kStarted && region->overlay->asks_peers();
  for (PageIndex page = rest.first; page < rest.end(); page++) {
    if (asks && StartTake(region, page, takes)) continue;
    *status = TakePage(*region, page, in_place);
    const Code code = status->error().code;
    if (status->ok()) {
      Install(region, {page, 1});
    } else if (code == Code::kUnsupported) {
      return page - run.first;
    } else {
      FailTake(region, page, code);
    }
    if (takes != nullptr) takes->End(1, status->ok() ? 0 : 1);
  }
  return run.count;
}

// Takes pages at the beginning of a claimed run that tiers in memory have, until the first one that
// none of them has: how many are not this caller's any more. By a buffer: to commit memory and to
// decompress into it takes twice as long as one write of many pages that have been decompressed.
uint64_t Filler::TakeFromMemory(const std::shared_ptr<Region>& region, PageRun run, Takes* takes) {
  const PageBuffer buffer(kTakenTogether);
  if (buffer.data() == nullptr) return 0;
  PageIndex page = run.first;
  while (page < run.end()) {
    PageRun come{page, 0};
    Status got;
    while (got.ok() && come.count < std::min(kTakenTogether, run.end() - page)) {
      got = region->overlay->LoadInPlace(come.end(), buffer.data() + come.length_bytes());
      if (got.ok()) come.count++;
    }
    if (come.count != 0) PutTogether(region, come, buffer.data(), takes);
    page = come.end();
    if (got.ok()) continue;
    if (got.error().code == Code::kUnsupported) break;
    FailTake(region, page++, got.error().code);
    if (takes != nullptr) takes->End(1, 1);
  }
  return page - run.first;
}

// Makes pages present with bytes that the overlay has, too, until they are.
void Filler::PutTogether(const std::shared_ptr<Region>& region, PageRun run,
                         const std::byte* bytes, Takes* takes) {
  const Status put = region->memory->PopulateFrom(run, bytes);
  if (put.ok()) {
    for (PageIndex page = run.first; page < run.end(); page++) region->overlay->Forget(page);
    Install(region, run);
  } else {
    region->memory->Drop({&run, 1});
    ReturnFrames(*region, budget_, run.count);
    GiveUp(region, run, put.error().code);
  }
  if (takes != nullptr) takes->End(run.count, put.ok() ? 0 : run.count);
}

// Asks the peer that has a claimed page; false: no peer has it.
bool Filler::StartTake(const std::shared_ptr<Region>& region, PageIndex page,
                       const std::shared_ptr<Takes>& takes) {
  const bool apart = region->memory->has_private_copies();
  const auto buffer = std::make_shared<PageBuffer>(apart ? 1 : 0);
  if (apart && buffer->data() == nullptr) return false;  // one by one, then
  region->jobs.fetch_add(1, std::memory_order_acq_rel);
  std::byte* at = apart ? buffer->data() : AddressOf(*region, page);
  const auto done = [this, region, page, takes, buffer](const Status& answered) {
    Status taken = answered;
    if (taken.ok() && buffer->data() != nullptr) {
      taken = PutPrivately(*region, page, buffer->data());
    }
    if (taken.ok()) {
      Install(region, {page, 1});
    } else {
      FailTake(region, page, taken.error().code);
    }
    region->jobs.fetch_sub(1, std::memory_order_acq_rel);
    if (takes != nullptr) takes->End(1, taken.ok() ? 0 : 1);
  };
  if (region->overlay->StartTake(page, at, done)) return true;
  region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  return false;
}

void Filler::FailTake(const std::shared_ptr<Region>& region, PageIndex page, Code code) {
  // Some of it may be there already, and memory that is given back reads as zeros.
  const PageRun run{page, 1};
  region->memory->Drop({&run, 1});
  ReturnFrames(*region, budget_, 1);
  if (code == Code::kPageLost) {
    LoseElsewhere(region, page);
  } else {
    GiveUp(region, run, code);
  }
}

// The tier gave back other bytes than it got, or none. A clean page still has its store; a dirty
// one is gone.
void Filler::LoseElsewhere(const std::shared_ptr<Region>& region, PageIndex page) {
  region->overlay->Forget(page);
  PageWord after = 0;
  const PageWord before = ChangePage(
      *region->table, page,
      [](PageWord word) {
        const PageWord rest = word & ~(kElsewhere | kWaiters | kAhead);
        const bool dirty = (word & kUnsafe) != 0;
        return WithState(rest, dirty ? PageState::kLost : PageState::kAbsent);
      },
      &after);
  const Code code = StateOf(after) == PageState::kLost ? Code::kPageLost : Code::kOk;
  if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, code);
}

}  // namespace farpage
