// How much memory may be used: a count of pages with a bound, and of what their tables take.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace farpage {

// Pages of tables that count as the process's own: a budget of a few pages has tables, too.
inline constexpr uint64_t kFreeTables = 64;
// Tables that nothing gives back leave pages this part of the budget, beyond its bound if need be.
inline constexpr uint64_t kLeastPagesPart = 16;

// Dirty pages that nothing but a write-back can take leave others this part of it.
inline constexpr uint64_t kUnstuckPart = 16;

// Frames are taken before a page becomes present and returned after its memory is gone. Tables are
// taken when they are needed, so they may pass the bound by what is under way; then no frame is to
// be had until pages have gone, and their tables with them.
// Thread: any.
class FrameBudget {
 public:
  explicit FrameBudget(uint64_t frames_max) : max_(frames_max) {}

  // Takes `frames` or nothing.
  [[nodiscard]] bool TryTake(uint64_t frames) {
    const uint64_t pages = pages_.fetch_add(frames, std::memory_order_relaxed) + frames;
    if (pages <= max_ && (pages + tables() <= max_ || pages <= least_pages())) return true;
    pages_.fetch_sub(frames, std::memory_order_relaxed);
    return false;
  }
  // Takes them even beyond the bound: pages that a restart found in memory.
  void Take(uint64_t frames) { pages_.fetch_add(frames, std::memory_order_relaxed); }
  void Return(uint64_t frames) { pages_.fetch_sub(frames, std::memory_order_relaxed); }

  void TakeTables(uint64_t pages) { tables_.fetch_add(pages, std::memory_order_relaxed); }
  void ReturnTables(uint64_t pages) { tables_.fetch_sub(pages, std::memory_order_relaxed); }

  // Dirty pages in memory that stay until a write-back is done with them: their tables count them.
  std::atomic<uint64_t>* stuck_count() { return &stuck_; }
  [[nodiscard]] uint64_t stuck() const { return stuck_.load(std::memory_order_relaxed); }
  // As many as leave those who read some frames to take turns in.
  [[nodiscard]] uint64_t stuck_max() const {
    const uint64_t room = max_ - std::min(tables(), max_ - std::min(max_, least_pages()));
    return room - room / kUnstuckPart;
  }

  // Frames taken, and the tables that count.
  [[nodiscard]] uint64_t used() const { return pages() + tables(); }
  [[nodiscard]] uint64_t pages() const { return pages_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t tables() const {
    const uint64_t all = all_tables();
    return all - std::min(all, kFreeTables);
  }
  [[nodiscard]] uint64_t all_tables() const { return tables_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t max() const { return max_; }

  // Pages that have to go until no more than `mark` is used; a page takes its tables with it.
  [[nodiscard]] uint64_t PagesBeyond(uint64_t mark) const {
    const uint64_t now = pages();
    const uint64_t beyond = now + tables() - std::min(now + tables(), mark);
    const uint64_t going = std::min(beyond, now - std::min(now, least_pages()));
    return going == 0 ? 0 : std::max<uint64_t>(going * now / (now + tables()), 1);
  }
  // True: tables leave no room for more than the pages that there always is room for.
  [[nodiscard]] bool IsFullOfTables() const {
    return tables() != 0 && tables() + least_pages() >= max_;
  }

 private:
  [[nodiscard]] uint64_t least_pages() const {
    return std::max<uint64_t>(max_ / kLeastPagesPart, 1);
  }

  const uint64_t max_;
  std::atomic<uint64_t> pages_{0};
  std::atomic<uint64_t> tables_{0};
  std::atomic<uint64_t> stuck_{0};
};

}  // namespace farpage
