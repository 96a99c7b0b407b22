// Read-ahead of one reader's stream: pages one after the other, or the same distance apart.
#include <algorithm>

#include "pager/page_change.h"
#include "pager/pager.h"

namespace farpage {

// Of one stream, in pages.
uint32_t Pager::ReadAheadMax(const Region& region) const {
  const uint64_t window = WindowPages(std::min(region.frames.max(), budget_.max()));
  return static_cast<uint32_t>(std::min<uint64_t>(read_ahead_pages_max_, window));
}

void Pager::Follow(const std::shared_ptr<Region>& region, PageRun run, bool cold,
                   ReadAheadStream* stream) {
  if (stream->region != region.get()) {
    *stream = {};
    stream->region = region.get();
  }
  const bool continues =
      run.first != 0 && (run.first == stream->expected || run.first == stream->filled_to);
  stream->expected = run.end();
  const uint32_t most = ReadAheadMax(*region);
  if (!continues) {
    stream->filled_to = run.end();
    stream->window_pages = 0;
    if (cold && most != 0) FollowStride(region, run, stream);
    return;
  }
  // Pages that are in the page cache are filled in place faster than they are handed over.
  if (!cold || most == 0) return;
  stream->EndStride();
  if (stream->window_pages == 0) {
    stream->window_pages = std::min(kFirstWindowPages, most);
  }
  stream->filled_to = std::max(stream->filled_to, run.end());
  Advance(region, run.first, stream);
}

void Pager::Advance(const std::shared_ptr<Region>& region, PageIndex page,
                    ReadAheadStream* stream) {
  if (stream->region != region.get()) return;
  if (stream->steps != 0) {
    AdvanceStride(region, stream);
    return;
  }
  if (stream->window_pages == 0) return;
  const PageIndex first = std::max(stream->filled_to, page);
  const PageIndex end =
      std::min<PageIndex>(first + stream->window_pages, region->table->pages());
  PageIndex at = first;
  if (first < end && !region->table->Reserve({first, end - first}).ok()) return;
  while (at < end) {
    const PageRun run{at, ClaimAhead(*region, {at, end - at})};
    if (run.count == 0) {
      at++;
      continue;
    }
    // Half-way through the window its first use asks for the next one, while this one is read.
    MarkAhead(*region, at + run.count / 2);
    if (!HandOver(region, run, stream->writes, nullptr)) break;
    at += run.count;
  }
  stream->filled_to = end;
  stream->window_pages = std::min(stream->window_pages * 2, ReadAheadMax(*region));
}

// Three accesses at the same distance are a stride: two may be so by chance.
void Pager::FollowStride(const std::shared_ptr<Region>& region, PageRun run,
                         ReadAheadStream* stream) {
  const auto start = static_cast<int64_t>(run.first);
  const int64_t distance = stream->last < 0 ? 0 : start - stream->last;
  const bool goes_on = distance != 0 && (distance == stream->stride ||
                                         (stream->steps != 0 && start == stream->strided_to));
  stream->last = start;
  if (!goes_on) {
    stream->stride = distance;
    stream->steps = 0;
    return;
  }
  if (stream->steps == 0) stream->steps = kFirstStrideSteps;
  stream->run_pages =
      static_cast<uint32_t>(std::min<uint64_t>(run.count, ReadAheadMax(*region)));
  stream->strided_to = start + stream->stride;
  AdvanceStride(region, stream);
}

void Pager::AdvanceStride(const std::shared_ptr<Region>& region, ReadAheadStream* stream) {
  const auto pages = static_cast<int64_t>(region->table->pages());
  const uint32_t steps =
      std::min(stream->steps, std::max(ReadAheadMax(*region) / stream->run_pages, 1u));
  bool marked = false;
  for (uint32_t step = 0; step < steps; step++) {
    const int64_t at = stream->strided_to;
    if (at < 0 || at >= pages) break;
    stream->strided_to += stream->stride;
    const PageRun wanted{static_cast<PageIndex>(at),
                         std::min<uint64_t>(stream->run_pages, static_cast<uint64_t>(pages - at))};
    if (!region->table->Reserve(wanted).ok()) return;
    const PageRun run{wanted.first, ClaimAhead(*region, wanted)};
    if (run.count == 0) continue;
    if (!marked && step >= steps / 2) {
      MarkAhead(*region, run.first);
      marked = true;
    }
    if (!HandOver(region, run, stream->writes, nullptr)) break;
  }
  stream->steps = std::min(stream->steps * 2, kStrideStepsMax);
}

// Claims absent pages at the start of a run; what nobody may read is not read ahead either.
uint64_t Pager::ClaimAhead(Region& region, PageRun run) {
  const uint64_t permitted = Protection::View(*region.protection).Permitted(run, kReadable);
  return Filler::Claim(region, {run.first, permitted});
}

// The first use of this page asks for more.
void Pager::MarkAhead(Region& region, PageIndex page) {
  ChangePage(*region.table, page, [](PageWord word) {
    return StateOf(word) == PageState::kFilling ? word | kAhead : word;
  });
}

}  // namespace farpage
