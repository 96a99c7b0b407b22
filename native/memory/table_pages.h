// What a region costs besides its pages: tables, the kernel's and our own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/page.h"
#include "memory/frame_budget.h"

namespace farpage {

// Pages that a region's tables take for each GiB of it that was ever touched and that nothing gives
// back: the kernel's middle table of its memory, a share of the tables of our words, and the states
// below.
inline constexpr uint64_t kTablesPerGib = 2;

// Tables are charged by what is touched: one page for the kernel's table of each window of
// kWindowBytes that has a page of the region, and one for each kSummaryPages words. A window is
// *emptied* when its last page has gone: its tables are then given back, while it is *closed* and
// no page can enter it. Thread: any; windows are closed by one thread at a time.
class TablePages {
 public:
  // Of a region of `pages` pages, with its states in memory of StateBytes that is zero and as
  // lazily committed as the words: beside them, because small mappings would break up large ranges.
  TablePages(std::byte* states, uint64_t pages);
  static uint64_t StateBytes(uint64_t pages) {
    return (WindowOf(pages) + 1) * sizeof(State);
  }

  // Charges this budget from now on, with what there is already. Requires: nobody uses it yet.
  void ChargeTo(FrameBudget& budget);

  // A page is about to occupy memory, or does no more. Enter waits while its window is closed, for
  // as long as some system calls take.
  void Enter(PageIndex page);
  void Leave(PageIndex page);
  // True: Enter would wait now.
  [[nodiscard]] bool IsClosed(PageIndex page) const {
    return (At(WindowOf(page)).load(std::memory_order_relaxed) & kClosed) != 0;
  }
  // True: the words of the page's chunk are charged. What it costs beside itself is given back with
  // it.
  [[nodiscard]] bool HasWords(PageIndex page) const {
    return (At(ChunkStart(WindowOf(page))).load(std::memory_order_relaxed) & kWords) != 0;
  }
  // The words of the chunk of a page have been made room for, for good.
  void ChargeWords(PageIndex page);

  // Pages that the tables take.
  [[nodiscard]] uint64_t charged() const { return charged_.load(std::memory_order_relaxed); }

  // The windows that have been emptied since they were asked for last, in no order.
  [[nodiscard]] bool has_emptied() const { return emptied_.load(std::memory_order_acquire) != 0; }
  std::vector<uint64_t> TakeEmptied();
  // Closes a window of TakeEmptied; false: it has pages again.
  bool Close(uint64_t window);
  // Closes the other windows whose words are in the same chunk as `window`'s, which is closed:
  // `others` are those to open again. False, and none: one of them has pages or tables.
  bool CloseChunk(uint64_t window, std::vector<uint64_t>* others);
  // Closes a window whatever is in it; how many of its pages occupy memory, or are about to, or do
  // no more since a moment ago. None enters until it is opened.
  uint64_t CloseOccupied(uint64_t window);
  // Opens a closed window; `gone`: the kernel's table of it has been freed.
  void Open(uint64_t window, bool gone);
  // The words of a chunk, all of whose windows are closed, have been given back.
  void ReturnWords(uint64_t window);
  static uint64_t WindowOf(PageIndex page) { return page / WindowPages(); }
  // The pages of a window, fewer at the end of the region: that one keeps its table.
  [[nodiscard]] PageRun RunOf(uint64_t window) const;
  [[nodiscard]] bool IsWhole(uint64_t window) const {
    return RunOf(window).count == WindowPages();
  }

 private:
  using State = std::atomic<uint16_t>;
  static constexpr uint16_t kCount = 0x0fff;    // pages that occupy memory
  static constexpr uint16_t kWords = 0x1000;    // of a chunk's first window: words are charged
  static constexpr uint16_t kListed = 0x2000;   // it is among the emptied ones
  static constexpr uint16_t kCharged = 0x4000;  // the kernel's table is charged
  static constexpr uint16_t kClosed = 0x8000;   // no page enters

  static uint64_t WindowPages() { return kWindowBytes >> kPageShift; }
  // The first window of the chunk of words that this one's are in.
  static uint64_t ChunkStart(uint64_t window);
  [[nodiscard]] State& At(uint64_t window) const {
    return states_[window];
  }
  void Charge(uint64_t pages);
  void Return(uint64_t pages);

  State* const states_;
  const uint64_t pages_;
  std::unique_ptr<std::atomic<bool>[]> gibs_;
  FrameBudget* budget_ = nullptr;
  std::atomic<uint64_t> charged_{0};
  std::atomic<uint64_t> emptied_{0};
  std::mutex mutex_;  // guards list_: the path of absent pages, a few instructions
  std::vector<uint64_t> list_;
};

}  // namespace farpage
