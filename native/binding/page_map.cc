#include "binding/page_map.h"

#include <algorithm>
#include <vector>

namespace farpage::binding {
namespace {

uint8_t BitsOf(PageWord word) {
  uint8_t bits = 0;
  const PageState state = StateOf(word);
  if (state == PageState::kPresent || state == PageState::kCopying) bits |= kCellPresent;
  if (state == PageState::kLost) bits |= kCellLost;
  if ((word & kElsewhere) != 0) bits |= kCellElsewhere;
  if ((word & kUnsafe) != 0) {
    bits |= kCellDirty;
  } else if ((word & kWritten) != 0) {
    bits |= kCellWrittenBack;
  }
  if ((word & kWritten) != 0) bits |= kCellWritten;
  return bits;
}

}  // namespace

void DrawPageMap(Region& region, Evictor& evictor, PageRun run, std::span<uint8_t> cells) {
  std::fill(cells.begin(), cells.end(), uint8_t{0});
  if (run.count == 0) return;
  std::vector<uint64_t> present(cells.size());
  PageTable& table = *region.table;
  // What was written may have been evicted, and nothing around it be present.
  const auto next_chunk = [&](uint64_t from) {
    return std::min(evictor.NextPresent(table, from), table.history_summary().Next(from));
  };
  const uint64_t chunks = table.present_summary().chunks();
  const auto cell_of = [&](PageIndex page) {
    return static_cast<size_t>(static_cast<unsigned __int128>(page - run.first) * cells.size() /
                               run.count);
  };
  for (uint64_t chunk = next_chunk(run.first / kSummaryPages);
       chunk < chunks && chunk * kSummaryPages < run.end(); chunk = next_chunk(chunk + 1)) {
    const PageIndex first = std::max(run.first, chunk * kSummaryPages);
    const PageIndex end = std::min({run.end(), (chunk + 1) * kSummaryPages, table.pages()});
    for (PageIndex page = first; page < end; page++) {
      const uint8_t bits = BitsOf(table.Load(page));
      if (bits == 0) continue;
      const size_t cell = cell_of(page);
      cells[cell] |= bits;
      if ((bits & kCellPresent) != 0) present[cell]++;
    }
  }
  for (size_t cell = 0; cell < cells.size(); cell++) {
    const uint64_t share = std::max<uint64_t>(run.count / cells.size(), 1);
    if (present[cell] != 0 && present[cell] < share) cells[cell] |= kCellPartly;
  }
}

}  // namespace farpage::binding
