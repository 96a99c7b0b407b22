#include "pager/harden.h"

#include "pager/dirty_pages.h"
#include "pager/page_change.h"

namespace farpage {

std::vector<PageRun> UnsyncedRuns(Region& region) {
  std::vector<PageRun> runs;
  PageTable& table = *region.table;
  EachDirtyChunkPage(table, 0, table.pages(), [&](PageIndex page) {
    if ((table.Load(page) & kUnsynced) != 0) AppendPage(runs, page);
    return true;
  });
  return runs;
}

void MarkDurable(PageTable& table, const std::vector<PageRun>& runs) {
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      ChangePage(table, page, [](PageWord word) { return word & ~kUnsynced; });
    }
  }
}

void Redirty(Region& region) {
  // Before the sweep: who stores pages beside this (PullBatch) sees it or is swept.
  region.fills.failed_syncs.fetch_add(1, std::memory_order_seq_cst);
  PageTable& table = *region.table;
  EachDirtyChunkPage(table, 0, table.pages(), [&](PageIndex page) {
    ChangePage(table, page, [&](PageWord word) { return WrittenAgain(table, word); });
    return true;
  });
}

Status Harden(Region& region, const std::vector<PageRun>& runs) {
  if (runs.empty()) return {};
  Status hard = region.store->MakeDurable();
  if (hard.ok()) {
    MarkDurable(*region.table, runs);
  } else {
    Redirty(region);
  }
  TidySummary(*region.table, 0, region.table->pages());
  return hard;
}

}  // namespace farpage
