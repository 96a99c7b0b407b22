#include "pager/prefetcher.h"

#include <algorithm>

#include "base/clock.h"
#include "pager/page_change.h"
#include "pager/pager_marks.h"
#include "pager/permit.h"

namespace farpage {

std::shared_ptr<Prefetch> Prefetcher::Begin(std::shared_ptr<Region> region, PageRun range,
                                            PrefetchDone done) {
  auto job = std::make_shared<Prefetch>();
  job->range = {range.first, std::min(range.end(), region->table->pages()) - range.first};
  job->region = std::move(region);
  job->done = std::move(done);
  job->at = job->recycled_to = range.first;
  job->pages = job->range.count;
  job->pulls = job->region->store->keeps_what_it_pulls();
  return Start(std::move(job));
}

std::shared_ptr<Prefetch> Prefetcher::Start(std::shared_ptr<Prefetch> job) {
  job->demands = job->region->fills.demands.load(std::memory_order_relaxed);
  // From here on it has a range of addresses, and keeps it while the job is under way.
  const RegionUse use(*job->region);
  Code refused = use.status().error().code;
  if (refused == Code::kOk) {
    job->region->jobs.fetch_add(1, std::memory_order_acq_rel);
    refused = lanes_.Add(job, *job->region);
    if (refused == Code::kOk) return job;
    job->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  Fail(*job, refused);
  job->done(Report(*job));
  return job;
}

void Prefetcher::Cancel(Prefetch& prefetch) {
  prefetch.cancelled.store(true, std::memory_order_release);
  lanes_.WakeBy([] {});
}

PrefetchReport Prefetcher::Report(const Prefetch& prefetch) {
  PrefetchReport report;
  report.pages = prefetch.pages;
  const uint64_t missing = prefetch.flying_pages.load(std::memory_order_relaxed) +
                           prefetch.failed_pages.load(std::memory_order_relaxed);
  const uint64_t passed = prefetch.passed_pages.load(std::memory_order_relaxed);
  report.passed_pages = passed - std::min(missing, passed);
  report.filled_pages = prefetch.filled_pages.load(std::memory_order_relaxed);
  report.full = prefetch.full.load(std::memory_order_relaxed);
  const Code code = prefetch.failure.load(std::memory_order_acquire);
  if (code != Code::kOk) {
    report.outcome = Error{code, 0, "prefetch"};
  } else if (prefetch.cancelled.load(std::memory_order_acquire)) {
    report.outcome = Error{Code::kAborted, 0, "prefetch"};
  }
  return report;
}

uint64_t Prefetcher::NeededPages(const Region& region, PageRun run) {
  uint64_t needed = 0;
  while (run.count != 0) {
    const PagesFrom from = region.store->OriginOf(run);
    const uint64_t part = std::min(from.pages, run.count);
    if (from.origin == PageOrigin::kRemote) needed += part;
    run = {run.first + part, run.count - part};
  }
  return needed;
}

void Prefetcher::Close() {
  closing_.store(true, std::memory_order_release);
  lanes_.Close();
}

void Prefetcher::Fail(Prefetch& job, Code code) {
  Code none = Code::kOk;
  job.failure.compare_exchange_strong(none, code, std::memory_order_acq_rel);
}

Prefetcher::Next Prefetcher::TakeFurther(const std::shared_ptr<Prefetch>& job) {
  const Next next = Step(job);
  // What is being written is waited for where there is nothing else to do.
  const bool waits = next == Next::kWaiting || next == Next::kResting;
  return waits && Settle(*job) ? Next::kMoved : next;
}

void Prefetcher::End(const std::shared_ptr<Prefetch>& job) {
  job->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  job->done(Report(*job));
}

// A little of one prefetch's work, so that none waits long for another.
Prefetcher::Next Prefetcher::Step(const std::shared_ptr<Prefetch>& job) {
  const bool landed = Land(job);
  if (closing_) Fail(*job, Code::kClosed);
  if (job->region->removed.load(std::memory_order_acquire)) Fail(*job, Code::kRegionRemoved);
  const bool ends = job->failure.load(std::memory_order_acquire) != Code::kOk ||
                    job->cancelled.load(std::memory_order_acquire);
  if (ends) Abandon(*job);
  const bool idle = job->flying_pages.load(std::memory_order_acquire) == 0 &&
                    job->batches[0].empty() && job->batches[1].empty() &&
                    !job->flushing.load(std::memory_order_acquire);
  if (ends) {
    if (!idle) return landed ? Next::kMoved : Next::kWaiting;
    const bool goes = closing_ || job->region->removed.load(std::memory_order_acquire);
    if (job->unflushed_pages == 0 || goes) return Next::kEnded;
    Flush(job);
    return Next::kWaiting;
  }
  if (job->at < job->range.end()) {
    const Next next = StepOver(job);
    return landed ? Next::kMoved : next;
  }
  if (NextRange(*job)) return Next::kMoved;
  if (!idle) return landed ? Next::kMoved : Next::kWaiting;
  return EndPass(job);
}

// Goes past pages that are here, up to the next one that is not.
Prefetcher::Next Prefetcher::StepOver(const std::shared_ptr<Prefetch>& job) {
  const uint64_t now = NowNs();
  if (now < job->rest_until_ns) return Next::kResting;
  PageTable& table = *job->region->table;
  const PageIndex end = job->range.end();
  Next next = Next::kMoved;
  for (uint64_t passed = 0; passed < kPassedPagesMax && job->at < end; passed++) {
    if (job->at >= job->origin_end) {
      const PagesFrom from = job->region->memory->OriginOf({job->at, end - job->at});
      job->origin = from.origin;
      job->origin_end = std::min(job->at + from.pages, end);
    }
    const bool pull = job->pulls && job->origin == PageOrigin::kRemote;
    if (job->passes != 0 && !pull) {
      job->at = job->origin_end;
      continue;
    }
    const PageWord word = table.Load(job->at);
    if (StateOf(word) == PageState::kAbsent) {
      // What nobody may read is no use in memory; a copy wants all of it in its file.
      if (!pull && !MayHave(*job->region, job->at, kReadable)) {
        job->at++;
        continue;
      }
      next = BeginRun(job);
      break;
    }
    if (pull && job->region->atomic) {
      if (KeepHere(*job)) break;
      if ((word & kUnsynced) != 0) job->unflushed_pages++;
    } else if (pull) {
      // It came from elsewhere and is clean: nothing would keep it.
      const PageWord before = ChangePage(table, job->at, [](PageWord now_word) {
        const bool clean =
            StateOf(now_word) == PageState::kPresent && (now_word & kUnsafe) == 0;
        return clean ? now_word | kDirty : now_word;
      });
      if (StateOf(before) == PageState::kPresent) job->unflushed_pages++;
    }
    job->at++;
  }
  if (job->passes == 0) {
    job->passed_pages.store(job->passed_before + job->at - job->range.first,
                            std::memory_order_relaxed);
  }
  return next;
}

// Somebody else waits for pages, or did a moment ago.
bool Prefetcher::IsPolite(Prefetch& job, uint64_t now) {
  const uint64_t demands = job.region->fills.demands.load(std::memory_order_relaxed);
  if (demands != job.demands || filler_.queued() != 0) {
    job.demands = demands;
    job.demand_ns = now;
  }
  return job.demand_ns != 0 && now < job.demand_ns + kPoliteNs;
}

// Claims and fills absent pages from `at` on.
Prefetcher::Next Prefetcher::BeginRun(const std::shared_ptr<Prefetch>& job) {
  Region& region = *job->region;
  const uint64_t now = NowNs();
  const uint64_t flying = job->flying_pages.load(std::memory_order_acquire);
  const bool polite = IsPolite(*job, now);
  if (!polite || now >= job->started_ns + kPoliteRestNs) job->begun_pages = 0;
  if (polite && job->begun_pages >= kPoliteRunPages) return Next::kResting;
  const bool pull = job->pulls && job->origin == PageOrigin::kRemote;
  const uint64_t bound = std::min(budget_.max(), region.frames.max());
  const uint64_t most = polite ? kPoliteRunPages - job->begun_pages : kPrefetchRunPages;
  uint64_t count =
      std::min({job->origin_end - job->at, most, std::max<uint64_t>(bound / 8, 1)});
  if (flying != 0 && (polite || flying + count > kPrefetchFlightPages)) return Next::kWaiting;
  if (job->origin == PageOrigin::kRemote &&
      region.fills.abandoned_pages.load(std::memory_order_acquire) + count > kAbandonedPagesMax) {
    return Next::kWaiting;
  }
  if (job->unflushed_pages >= kPullBatchPages) {
    if (!job->flushing.load(std::memory_order_acquire)) {
      Flush(job);
    } else if (job->unflushed_pages >= 2 * kPullBatchPages) {
      return Next::kWaiting;
    }
  }
  const uint64_t free = FreeFrames(*job, pull);
  const bool recycles = pull && (job->unflushed_pages != 0 || job->recycled_to != job->at);
  if (free < count && (free == 0 || recycles)) return NoRoom(job, count);
  count = std::min(count, free);
  if (!Filler::TryTakeFrames(region, budget_, count)) return NoRoom(job, count);
  job->starved_ns = 0;
  if (job->begun_pages == 0) job->started_ns = now;
  Status reserved = region.table->Reserve({job->at, count});
  uint64_t wanted = count;
  if (!pull) {
    wanted = Protection::View(*region.protection).Permitted({job->at, count}, kReadable);
  }
  const uint64_t claimed = reserved.ok() ? Filler::Claim(region, {job->at, wanted}) : 0;
  Filler::ReturnFrames(region, budget_, count - claimed);
  if (!reserved.ok()) Fail(*job, reserved.error().code);
  job->begun_pages += claimed;
  return claimed == 0 ? Next::kMoved : StartRun(job, {job->at, claimed});
}

// Fills a claimed run whose frames are taken.
Prefetcher::Next Prefetcher::StartRun(const std::shared_ptr<Prefetch>& job, PageRun run) {
  const auto& region = job->region;
  if (IsElsewhere(*region, run.first)) {
    job->at = run.end();
    Take(job, run);
    return Next::kMoved;
  }
  // Asked again now that nobody else can write these pages: what was written meanwhile and is in
  // the store by now must not be overwritten by what the source has.
  const PagesFrom from = region->memory->OriginOf(run);
  if (from.pages < run.count) {
    Filler::ReturnFrames(*region, budget_, run.count - from.pages);
    filler_.GiveUp(region, {run.first + from.pages, run.count - from.pages}, Code::kOk);
    run.count = from.pages;
    job->origin_end = run.end();
  }
  job->at = run.end();
  if (from.origin != PageOrigin::kRemote) {
    // The device begins with the next run while this one is copied.
    const uint64_t ahead = std::min(kPrefetchRunPages, job->range.end() - job->at);
    if (ahead != 0) region->memory->StartRead({job->at, ahead});
    if (Status filled = filler_.FillNow(region, run); !filled.ok()) {
      job->failed_pages.fetch_add(run.count, std::memory_order_relaxed);
      Fail(*job, filled.error().code);
    } else {
      job->filled_pages.fetch_add(run.count, std::memory_order_relaxed);
    }
    return Next::kMoved;
  }
  Ask(job, run);
  return Next::kMoved;
}

// Frames that may be taken: beyond the high mark others would be evicted for them, beyond the low
// one soon.
uint64_t Prefetcher::FreeFrames(const Prefetch& job, bool pull) const {
  const auto left = [](uint64_t most, uint64_t used) { return used < most ? most - used : 0; };
  const FrameBudget& own = job.region->frames;
  const uint64_t most = pull ? HighMark(budget_.max()) : LowMark(budget_.max());
  return std::min(left(most, budget_.used()), left(own.max(), own.used()));
}

// No free frame. What a pull brought may go once its store has it.
Prefetcher::Next Prefetcher::NoRoom(const std::shared_ptr<Prefetch>& job, uint64_t frames) {
  Region& region = *job->region;
  if (!job->pulls) {
    job->full = true;
    job->rest.clear();
    job->at = job->range.end();
    return Next::kMoved;
  }
  if (job->origin != PageOrigin::kRemote) {  // it is kept already, and need not be in memory
    job->at = job->origin_end;
    return Next::kMoved;
  }
  if (job->flying_pages.load(std::memory_order_acquire) != 0 ||
      job->flushing.load(std::memory_order_acquire)) {
    return Next::kWaiting;
  }
  if (job->unflushed_pages != 0) {
    Flush(job);
    return Next::kWaiting;
  }
  const PageRun own{job->recycled_to, job->at - job->recycled_to};
  job->recycled_to = job->at;
  if (evictor_.Reclaim(job->region, own, true).evicted_pages != 0) return Next::kMoved;
  // Others have all of it. A bound of its own, or one of a few pages, nobody else makes room in.
  const bool own_bound = region.frames.used() + frames > region.frames.max();
  if (own_bound || budget_.max() < kFreePartMax) {
    const auto evicted = evictor_.Evict(frames, own_bound ? &region : nullptr);
    if (evicted.evicted_pages != 0) return Next::kMoved;
  } else {
    reclaim_();
  }
  const uint64_t now = NowNs();
  if (job->starved_ns == 0) job->starved_ns = now;
  if (now > job->starved_ns + kStarvedNs) Fail(*job, Code::kMemoryFull);
  return Next::kResting;
}

// The end of the range: over, unless a pull has missed pages that were on their way.
Prefetcher::Next Prefetcher::EndPass(const std::shared_ptr<Prefetch>& job) {
  if (!job->pulls) return Next::kEnded;
  if (!job->settled) {
    job->settled = true;
    Flush(job);
    return Next::kWaiting;
  }
  if (KeepsAll(*job)) return Next::kEnded;
  job->settled = false;
  if (++job->passes == kPullPassesMax) Fail(*job, Code::kTimeout);
  job->at = job->recycled_to = job->range.first;
  job->origin_end = 0;
  job->rest_until_ns = NowNs() + kPullRestNs;
  return Next::kResting;
}

void Prefetcher::Flush(const std::shared_ptr<Prefetch>& job) {
  Settle(*job);
  // Those on their way come too late for this one.
  job->unflushed_pages = job->flying_pages.load(std::memory_order_acquire);
  job->flushing.store(true, std::memory_order_release);
  const auto ended = [this, job](const Result<WriteBackReceipt>& done) {
    if (!done.ok()) Fail(*job, done.error().code);
    lanes_.WakeBy([&] { job->flushing.store(false, std::memory_order_release); });
  };
  if (job->region->atomic) {
    write_back_.SubmitHarden(job->region, ended);
  } else {
    write_back_.Submit(job->region, job->range, true, ended);
  }
}

}  // namespace farpage
