// Memory of pages that were evicted, back to the system.
#include <algorithm>
#include <vector>

#include "pager/evictor.h"

namespace farpage {
namespace {

// The runs, each cut where a window ends.
std::vector<PageRun> CutAtWindows(const TablePages& tables, std::span<const PageRun> runs) {
  std::vector<PageRun> parts;
  parts.reserve(runs.size());
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end();) {
      const PageIndex end =
          std::min(run.end(), tables.RunOf(TablePages::WindowOf(page)).end());
      parts.push_back({page, end - page});
      page = end;
    }
  }
  return parts;
}

// Adds the runs of one closed window, joined over pages that are absent, or as they are when some
// page may be on its way in: `occupied` pages were, or had come, when the window was closed. Those
// that are seen here to have memory are among them; if they are all of them, every other page is
// absent and stays so until the window is opened.
void JoinRuns(const PageTable& table, PageRun window, uint64_t occupied,
              std::span<const PageRun> runs, std::vector<PageRun>* joined) {
  const size_t before = joined->size();
  uint64_t seen = 0;
  bool joins = false;
  auto next = runs.begin();
  for (PageIndex page = window.first; page < window.end(); page++) {
    const PageWord word = table.Load(page);
    seen += HoldsFrame(word) ? 1 : 0;
    if (next == runs.end() || page < next->first) {
      joins = joins && StateOf(word) == PageState::kAbsent;
      continue;
    }
    if (joins) {
      joined->back().count = page + 1 - joined->back().first;
    } else {
      joined->push_back({page, 1});
    }
    joins = true;
    if (page + 1 == next->end()) ++next;
  }
  if (seen == occupied) return;
  joined->resize(before);
  joined->insert(joined->end(), runs.begin(), runs.end());
}

}  // namespace

// A hole in mapped memory costs 3 us, and a page more in it 1 us. Absent pages between those that
// go have no memory, so one hole may go over all of them, as long as none of them is filled
// meanwhile. Who needs a page of a closed window looks again and again, on a core that this thread
// may want: so one window is closed at a time. Sweeps take turns, so one thread closes windows.
void Evictor::GiveMemoryBack(Region& region, std::span<const PageRun> runs) {
  if (!region.memory->drops_by_runs()) return region.memory->Drop(runs);
  TablePages& tables = region.table->tables();
  const std::vector<PageRun> parts = CutAtWindows(tables, runs);
  std::vector<PageRun> alone;  // in their windows
  std::vector<PageRun> joined;
  for (auto next = parts.begin(); next != parts.end();) {
    const uint64_t window = TablePages::WindowOf(next->first);
    const auto end = std::find_if(next, parts.end(), [&](const PageRun& part) {
      return TablePages::WindowOf(part.first) != window;
    });
    if (end - next == 1) {
      alone.push_back(*next);
    } else {
      const uint64_t occupied = tables.CloseOccupied(window);
      JoinRuns(*region.table, tables.RunOf(window), occupied, {next, end}, &joined);
      region.memory->Drop(joined);
      tables.Open(window, false);
      joined.clear();
    }
    next = end;
  }
  if (!alone.empty()) region.memory->Drop(alone);
}

}  // namespace farpage
