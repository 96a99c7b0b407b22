#include "memory/pins.h"

namespace farpage {
namespace {

void Append(Pins::List& list, PageIndex first, PageIndex end) {
  if (first >= end) return;
  if (!list.empty() && list.back().end() >= first) {
    list.back().count = std::max(list.back().end(), end) - list.back().first;
  } else {
    list.push_back({first, end - first});
  }
}

// `before`, with `run` in it or not.
Pins::List With(const Pins::List& before, PageRun run, bool pinned) {
  Pins::List after;
  after.reserve(before.size() + 1);
  bool placed = !pinned;
  for (const PageRun& other : before) {
    Append(after, other.first, std::min(other.end(), run.first));
    if (!placed && other.end() >= run.first) {
      // In order: what of the other one comes before it has been placed.
      Append(after, run.first, run.end());
      placed = true;
    }
    Append(after, std::max(other.first, run.end()), other.end());
  }
  if (!placed) Append(after, run.first, run.end());
  return after;
}

uint64_t PagesIn(const Pins::List& list) {
  uint64_t pages = 0;
  for (const PageRun& run : list) pages += run.count;
  return pages;
}

}  // namespace

Status Pins::Set(PageRun run, bool pinned, uint64_t pages_max) {
  if (run.count == 0) return {};
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ended_) return Error{Code::kRegionRemoved, 0, "pin"};
  auto after = std::make_shared<List>(With(list_ != nullptr ? *list_ : List{}, run, pinned));
  if (after->size() > kPinnedRangesMax) {
    return Error{Code::kQuota, 0, "as many ranges of this region are pinned as may be"};
  }
  // What takes pins away always may.
  if (pinned && PagesIn(*after) > pages_max) {
    return Error{Code::kQuota, 0, "as many pages are pinned as may be"};
  }
  list_ = after->empty() ? nullptr : std::move(after);
  return {};
}

uint64_t Pins::End() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  const auto list = std::move(list_);
  return list != nullptr ? PagesIn(*list) : 0;
}

Pins::List Pins::Runs() const {
  const auto list = Get();
  return list != nullptr ? *list : List();
}

uint64_t Pins::pages() const {
  const auto list = Get();
  return list != nullptr ? PagesIn(*list) : 0;
}

}  // namespace farpage
