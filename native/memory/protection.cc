#include "memory/protection.h"

#include <sched.h>

#include <algorithm>
#include <memory>

namespace farpage {
namespace {

using List = std::vector<ProtectedRange>;

// The first range that ends behind `page`.
List::const_iterator From(const List& list, PageIndex page) {
  return std::upper_bound(list.begin(), list.end(), page,
                          [](PageIndex at, const ProtectedRange& range) {
                            return at < range.run.end();
                          });
}

void Append(List& list, PageIndex first, PageIndex end, Permission permission) {
  if (first >= end || permission == Permission::kReadWrite) return;
  if (!list.empty() && list.back().run.end() == first && list.back().permission == permission) {
    list.back().run.count += end - first;
  } else {
    list.push_back({{first, end - first}, permission});
  }
}

// `before`, with `run` as it shall be.
List With(const List& before, PageRun run, Permission permission) {
  List after;
  after.reserve(before.size() + 2);
  bool placed = false;
  for (const ProtectedRange& range : before) {
    Append(after, range.run.first, std::min(range.run.end(), run.first), range.permission);
    if (!placed && range.run.end() > run.first) {
      Append(after, run.first, run.end(), permission);
      placed = true;
    }
    Append(after, std::max(range.run.first, run.end()), range.run.end(), range.permission);
  }
  if (!placed) Append(after, run.first, run.end(), permission);
  return after;
}

}  // namespace

// The order is: note the epoch, count oneself in, and look whether it is still the same one. If so,
// who publishes a list later counts this look; if not, it might not, so again.
Protection::View::View(const Protection& of) : of_(of) {
  for (;;) {
    epoch_ = of.epoch_.load(std::memory_order_seq_cst);
    of.looks_[epoch_ & 1].fetch_add(1, std::memory_order_seq_cst);
    if (of.epoch_.load(std::memory_order_seq_cst) == epoch_) break;
    of.looks_[epoch_ & 1].fetch_sub(1, std::memory_order_seq_cst);
  }
  list_ = of.list_.load(std::memory_order_seq_cst);
}

Protection::View::~View() { of_.looks_[epoch_ & 1].fetch_sub(1, std::memory_order_seq_cst); }

Permission Protection::View::Find(PageIndex page) const {
  if (list_ == nullptr) return Permission::kReadWrite;
  const auto found = From(*list_, page);
  const bool covers = found != list_->end() && found->run.first <= page;
  return covers ? found->permission : Permission::kReadWrite;
}

uint64_t Protection::View::Permitted(PageRun run, PageWord right) const {
  if (list_ == nullptr) return run.count;
  for (auto range = From(*list_, run.first); range != list_->end(); ++range) {
    if (range->run.first >= run.end()) break;
    if ((ForbiddenBy(range->permission) & right) == 0) continue;
    return range->run.first <= run.first ? 0 : range->run.first - run.first;
  }
  return run.count;
}

Protection::~Protection() { delete list_.load(std::memory_order_relaxed); }

Status Protection::Set(PageRun run, Permission permission) {
  if (run.count == 0) return {};
  const std::lock_guard<std::mutex> lock(mutex_);
  const List* const before = list_.load(std::memory_order_relaxed);
  auto after = std::make_unique<List>(With(before != nullptr ? *before : List{}, run,
                                             permission));
  if (after->size() > kProtectedRangesMax) {
    return Error{Code::kQuota, 0, "as many ranges of this region are protected as may be"};
  }
  list_.store(after->empty() ? nullptr : after.release(), std::memory_order_seq_cst);
  const uint64_t epoch = epoch_.fetch_add(1, std::memory_order_seq_cst);
  // A look takes well under a microsecond, unless its thread has lost its core.
  while (looks_[epoch & 1].load(std::memory_order_seq_cst) != 0) ::sched_yield();
  delete before;
  return {};
}

std::vector<ProtectedRange> Protection::Ranges() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const List* const list = list_.load(std::memory_order_relaxed);
  return list != nullptr ? *list : List();
}

}  // namespace farpage
