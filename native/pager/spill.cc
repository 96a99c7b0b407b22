// Dirty pages into the overlay of their region.
#include <algorithm>

#include "memory/region_copy.h"
#include "pager/evictor.h"
#include "pager/page_change.h"
#include "pager/pager.h"

namespace farpage {

void Evictor::CollectDirty(Region& region, PageRun within, uint64_t pages_max,
                           const Cold& cold, Victims* victims) {
  Pins::View pins(*region.pins);
  for (PageIndex page = within.first; page < within.end() && victims->pages < pages_max; page++) {
    if (pins.Has(page)) continue;
    PageWord after = 0;
    const PageWord before = ChangePage(
        *region.table, page,
        [&](PageWord word) {
          if (StateOf(word) != PageState::kPresent || (word & kUnsafe) == 0) return word;
          // What is being written back will be clean soon; what is held is wanted now.
          if ((word & (kHeld | kWriteback)) != 0) return word;
          if (!cold.Has(word)) return word;
          return WithState(word & ~(kReadable | kWritable | kUses | kAhead),
                           PageState::kEvicting) | kElsewhere;
        },
        &after);
    if (StateOf(after) == StateOf(before)) continue;  // also one that this sweep has already
    AppendPage(victims->runs, page);
    victims->pages++;
  }
}

std::unique_lock<std::mutex> Evictor::LockAtRest(const Region& region) {
  std::unique_lock<std::mutex> sweep(mutex_);
  moved_.wait(sweep, [&] {
    return std::find(moving_.begin(), moving_.end(), &region) == moving_.end();
  });
  return sweep;
}

void Evictor::Move(std::vector<Victims>& batch, std::unique_lock<std::mutex>& sweep,
                   EvictionResult* result) {
  std::vector<Moving> moving;
  for (Victims& victims : batch) moving.push_back(BeginMove(victims));
  sweep.unlock();
  for (Moving& each : moving) {
    if (each.copied.ok()) each.victims.region->overlay->Store(each.pages);
  }
  sweep.lock();
  for (Moving& each : moving) EndMove(each, result);
  moved_.notify_all();
}

// After the grace period nobody reads or writes the pages: their bytes are of one moment.
Evictor::Moving Evictor::BeginMove(Victims& victims) {
  Moving moving;
  Region& region = *victims.region;
  // Counted in first, and only then asked: who parks says so and then looks. While it is counted
  // the region is not removed either.
  region.jobs.fetch_add(1, std::memory_order_seq_cst);
  moving_.push_back(&region);
  moving.pages.reserve(victims.pages);
  // Cutting a file takes private copies with it at any time, and tiers read bytes as they are:
  // those are copied out first. A parked region has no range of addresses, and gets none for this:
  // its pages are read from the descriptor. A private mapping with dirty pages is never parked.
  const bool cuts = region.memory->has_private_copies();
  const bool parked = !cuts && region.parked.load(std::memory_order_seq_cst);
  const bool copies = cuts || parked;
  if (copies) moving.copies = PageBuffer(victims.pages);
  std::byte* copy = moving.copies.data();
  if (copies && copy == nullptr) moving.copied = Error{Code::kMemoryFull, 0, "aligned_alloc"};
  for (const PageRun& run : victims.runs) {
    if (parked && moving.copied.ok()) moving.copied = region.memory->ReadUnmapped(run, copy);
    for (PageIndex page = run.first; page < run.end(); page++) {
      const std::byte* bytes = region.memory->address() + (page << kPageShift);
      Status outcome;
      if (cuts && copy != nullptr && !CopyFromRegion(copy, bytes, kPageBytes)) {
        outcome = Error{Code::kPageLost, 0, "a private copy went with the end of its file"};
      }
      moving.pages.push_back({page, copies ? copy : bytes, outcome});
      if (copy != nullptr) copy += kPageBytes;
    }
  }
  if (!moving.copied.ok()) {
    for (OverlayPage& page : moving.pages) page.outcome = moving.copied;
  }
  moving.victims = std::move(victims);
  return moving;
}

void Evictor::EndMove(Moving& moving, EvictionResult* result) {
  const std::shared_ptr<Region>& region = moving.victims.region;
  Victims gone{region, {}, 0, 0, moving.victims.stamp};
  for (const OverlayPage& page : moving.pages) {
    if (page.outcome.ok()) {
      AppendPage(gone.runs, page.page);
      gone.pages++;
      continue;
    }
    if (page.outcome.error().code == Code::kPageLost) {
      Lose(region, page.page);
      result->evicted_pages++;
      continue;
    }
    // No room there: it stays. Whoever writes next faults for the permission, in place.
    const Protection::View view(*region->protection);
    const PageWord readable = region->PresentFlags() & kReadable & ~view.Forbidden(page.page);
    const PageWord before = ChangePage(*region->table, page.page, [&](PageWord word) {
      return WithState(word & ~(kElsewhere | kWaiters), PageState::kPresent) | readable;
    });
    if ((before & kWaiters) != 0) waiters_.WakeAll(region, page.page, Code::kOk);
    result->refused_pages++;
  }
  if (gone.pages != 0) Drop(gone);
  result->spilled_pages += gone.pages;
  result->evicted_pages += gone.pages;
  moving_.erase(std::find(moving_.begin(), moving_.end(), region.get()));
  region->jobs.fetch_sub(1, std::memory_order_acq_rel);
}

// There was no copy any more of a dirty page on its way into the overlay.
void Evictor::Lose(const std::shared_ptr<Region>& region, PageIndex page) {
  const PageWord before = ChangePage(*region->table, page, [](PageWord word) {
    return WithState(word & ~(kElsewhere | kWaiters | kHeld), PageState::kLost);
  });
  region->frames.Return(1);
  budget_.Return(1);
  if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, Code::kPageLost);
}

// Dirty pages whose bytes are in the overlay alone: given up, like dirty pages in memory.
uint64_t Evictor::DiscardElsewhere(const std::shared_ptr<Region>& region, PageRun run) {
  if (region->overlay == nullptr) return 0;
  PageTable& table = *region->table;
  Summary& summary = table.dirty_summary();
  const PageIndex end = std::min(run.end(), table.pages());
  uint64_t gone = 0;
  for (uint64_t chunk = summary.Next(run.first / kSummaryPages);
       chunk < summary.chunks() && chunk * kSummaryPages < end; chunk = summary.Next(chunk + 1)) {
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    for (PageIndex page = std::max(run.first, chunk * kSummaryPages); page < last; page++) {
      PageWord word = table.Load(page);
      if (StateOf(word) != PageState::kAbsent || (word & kElsewhere) == 0) continue;
      // Claimed like a fill: who touches it meanwhile waits, and then asks the store.
      if (!table.Change(page, word, WithState(word, PageState::kFilling))) continue;
      region->overlay->Forget(page);
      ChangePage(table, page, [](PageWord now) { return GivenUp(now); });
      const PageWord before = ChangePage(table, page, [](PageWord now) {
        return WithState(now & ~(kElsewhere | kWaiters), PageState::kAbsent);
      });
      if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, Code::kOk);
      gone++;
    }
  }
  // On their way they had a page of memory to come into, and its tables.
  if (gone != 0) GiveTablesBack(*region);
  return gone;
}

EvictionResult Evictor::Demote(const std::shared_ptr<Region>& region, PageRun run, Cold cold) {
  Rules rules;
  rules.pick = Pick::kAll;
  rules.cold = cold;
  EvictionResult result = Take(region, {&run, 1}, rules);
  if (region->overlay == nullptr) return result;
  std::unique_lock<std::mutex> sweep = LockAtRest(*region);
  Summary& summary = region->table->dirty_summary();
  const PageIndex end = std::min(run.end(), region->table->pages());
  for (PageIndex page = run.first; page < end;) {
    // A batch at a time, a grace period each: a batch is what its tier writes in one go.
    Victims victims{region, {}, 0};
    while (page < end && victims.pages < kSpillPagesMax) {
      const uint64_t chunk = summary.Next(page / kSummaryPages);
      page = std::max(page, chunk * kSummaryPages);
      const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
      if (page >= last) break;
      const PageIndex stop = std::min(last, page + kSpillPagesMax - victims.pages);
      CollectDirty(*region, {page, stop - page}, kSpillPagesMax, cold, &victims);
      page = stop;
    }
    if (victims.pages == 0) {
      if (summary.Next(page / kSummaryPages) >= summary.chunks()) break;
      continue;
    }
    shootdown_.WaitGracePeriod();
    std::vector<Victims> batch;
    batch.push_back(std::move(victims));
    Move(batch, sweep, &result);
    if (result.refused_pages != 0) break;
  }
  return result;
}

}  // namespace farpage
