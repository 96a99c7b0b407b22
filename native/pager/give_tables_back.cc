// Tables of windows that no page is left in: the kernel's, and our words.
#include <algorithm>

#include "pager/evictor.h"

namespace farpage {

// Sweeps take turns, so one thread closes windows. Parking and removal of a region take turns with
// sweeps too.
uint64_t Evictor::GiveTablesBack(Region& region) {
  TablePages& tables = region.table->tables();
  if (!tables.has_emptied()) return 0;
  const uint64_t before = tables.charged();
  std::vector<uint64_t> emptied = tables.TakeEmptied();
  std::sort(emptied.begin(), emptied.end());
  std::vector<uint64_t> closed;
  std::vector<PageRun> whole;
  for (auto next = emptied.begin(); next != emptied.end();) {
    closed.clear();
    whole.clear();
    for (; next != emptied.end() && closed.size() < kClosedWindowsMax; next++) {
      if (!tables.Close(*next)) continue;
      closed.push_back(*next);
      if (tables.IsWhole(*next)) whole.push_back(tables.RunOf(*next));
    }
    const bool gone = whole.empty() || region.memory->DropTables(whole);
    region.table->DropWords(closed);
    for (const uint64_t window : closed) tables.Open(window, gone && tables.IsWhole(window));
    // What is kept in caches may be in use again: that costs time and no more.
    for (const uint64_t window : closed) region.memory->DropWindow(tables.RunOf(window));
  }
  const uint64_t after = tables.charged();
  return before - std::min(before, after);
}

uint64_t Evictor::GiveTablesBack() {
  const std::lock_guard<std::mutex> sweep(mutex_);
  uint64_t pages = 0;
  for (const auto& region : Regions()) pages += GiveTablesBack(*region);
  return pages;
}

}  // namespace farpage
