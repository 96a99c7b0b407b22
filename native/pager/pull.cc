// Prefetch of pages from elsewhere: read into a buffer, then put where they belong.
#include <algorithm>
#include <cstring>
#include <new>

#include "pager/prefetcher.h"

namespace farpage {

// Takes a claimed run whose frames are taken out of the tiers: a peer is asked, and not waited for.
void Prefetcher::Take(const std::shared_ptr<Prefetch>& job, PageRun run) {
  job->flying_pages.fetch_add(run.count, std::memory_order_acq_rel);
  filler_.TakeFromOverlay(job->region, run, [this, job, run](uint64_t failed_pages) {
    lanes_.WakeBy([&] {
      job->filled_pages.fetch_add(run.count - failed_pages, std::memory_order_relaxed);
      job->failed_pages.fetch_add(failed_pages, std::memory_order_relaxed);
      job->flying_pages.fetch_sub(run.count, std::memory_order_acq_rel);
    });
  });
}

// Reads a claimed run whose frames are taken.
void Prefetcher::Ask(const std::shared_ptr<Prefetch>& job, PageRun run) {
  Region& region = *job->region;
  std::shared_ptr<std::byte[]> bytes;
  {
    const std::lock_guard<std::mutex> lock(buffers_mutex_);
    if (run.count == kPrefetchRunPages && !idle_buffers_.empty()) {
      bytes = std::move(idle_buffers_.back());
      idle_buffers_.pop_back();
    }
  }
  if (bytes == nullptr) {
    const auto release = [](std::byte* buffer) {
      ::operator delete[](buffer, std::align_val_t{kPageBytes});
    };
    bytes.reset(new (std::align_val_t{kPageBytes}) std::byte[run.length_bytes()], release);
  }
  // A source gives no bytes for a last page's part beyond the region, which is zero.
  const uint64_t own = region.BytesIn(run);
  std::memset(bytes.get() + own, 0, run.length_bytes() - own);
  if (job->pulls) job->unflushed_pages += run.count;
  job->flying_pages.fetch_add(run.count, std::memory_order_acq_rel);
  auto flight = std::make_shared<PrefetchFlight>();
  flight->run = run;
  job->flights.push_back(flight);
  std::byte* into = bytes.get();
  region.store->StartBackgroundRead(run, into, [this, job, flight, bytes](Status read) {
    const PageRun come = flight->run;
    if (flight->state.exchange(PrefetchFlight::State::kCome, std::memory_order_acq_rel) ==
        PrefetchFlight::State::kAbandoned) {
      // Its prefetch has ended, perhaps long ago: nothing of this object is touched any more.
      job->region->fills.abandoned_pages.fetch_sub(come.count, std::memory_order_release);
      return;
    }
    lanes_.WakeBy([&] { job->arrived.push_back({come, bytes, std::move(read)}); });
  });
}

// Gives up the pages whose reads have not ended: nobody waits for a source on their account. What
// comes late comes into a buffer, and is not looked at.
void Prefetcher::Abandon(Prefetch& job) {
  Region& region = *job.region;
  std::erase_if(job.flights, [&](const std::shared_ptr<PrefetchFlight>& flight) {
    const PageRun run = flight->run;
    region.fills.abandoned_pages.fetch_add(run.count, std::memory_order_acq_rel);
    PrefetchFlight::State flying = PrefetchFlight::State::kFlying;
    if (!flight->state.compare_exchange_strong(flying, PrefetchFlight::State::kAbandoned,
                                               std::memory_order_acq_rel)) {
      region.fills.abandoned_pages.fetch_sub(run.count, std::memory_order_acq_rel);
      return false;  // it has come: Land is next
    }
    Filler::ReturnFrames(region, budget_, run.count);
    // Who waits for one of them asks again.
    filler_.GiveUp(job.region, run, Code::kOk);
    if (job.pulls) job.unflushed_pages -= std::min(run.count, job.unflushed_pages);
    job.failed_pages.fetch_add(run.count, std::memory_order_relaxed);
    job.flying_pages.fetch_sub(run.count, std::memory_order_acq_rel);
    return true;
  });
}

// Puts one run that has come into its place; false: none has.
bool Prefetcher::Land(const std::shared_ptr<Prefetch>& job) {
  ArrivedRun arrived;
  {
    const auto lock = lanes_.Lock();
    if (job->arrived.empty()) return false;
    arrived = std::move(job->arrived.front());
    job->arrived.pop_front();
  }
  const PageRun run = arrived.run;
  std::erase_if(job->flights, [&](const auto& flight) { return flight->run.first == run.first; });
  Place(*job, std::move(arrived));
  job->flying_pages.fetch_sub(run.count, std::memory_order_acq_rel);
  return true;
}

void Prefetcher::Place(Prefetch& job, ArrivedRun arrived) {
  Region& region = *job.region;
  const PageRun run = arrived.run;
  Status placed = arrived.read;
  if (placed.ok()) placed = region.memory->PopulateFrom(run, arrived.bytes.get());
  if (!placed.ok()) {
    Filler::ReturnFrames(region, budget_, run.count);
    // Who waits for one of them asks again, and hears the reason itself.
    filler_.GiveUp(job.region, run, Code::kOk);
    job.failed_pages.fetch_add(run.count, std::memory_order_relaxed);
    Fail(job, placed.error().code);
    Recycle(std::move(arrived));
    return;
  }
  // The files of a memory directory tell of one writer of their store at a time: there write-back
  // has to put the pages.
  if (job.pulls && region.table->files() == nullptr) {
    Keep(job, std::move(arrived));
    return;
  }
  filler_.Install(job.region, run, job.pulls ? kDirty : 0);
  job.filled_pages.fetch_add(run.count, std::memory_order_relaxed);
  Recycle(std::move(arrived));
}

void Prefetcher::Recycle(ArrivedRun arrived) {
  const bool whole = arrived.bytes != nullptr && arrived.run.count == kPrefetchRunPages;
  const std::lock_guard<std::mutex> lock(buffers_mutex_);
  if (whole && idle_buffers_.size() < kIdleBuffersMax) {
    idle_buffers_.push_back(std::move(arrived.bytes));
  }
}

}  // namespace farpage
