#include "pager/page_map.h"

#include <algorithm>
#include <array>

namespace farpage {
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

// Chunks with dirty pages, with others that were written, with present ones: each kind has its
// share of the words, so that few pages of one are not lost among many of another.
constexpr size_t kKinds = 3;

// Goes over the chunks that are not empty, each with the first kind that it is of. It remembers the
// next one of each kind: where a summary has none for long, it is not searched again.
class ChunkWalk {
 public:
  ChunkWalk(PageTable& table, Evictor& evictor, uint64_t from) : table_(table), evictor_(evictor) {
    for (size_t kind = 0; kind < kKinds; kind++) Search(kind, from);
  }

  // Those in [from, end); stands at the last one then, which the next range may share. Requires:
  // `from` is no less than the last one of before.
  template <typename Look>
  void ForEach(uint64_t from, uint64_t end, Look look) {
    for (uint64_t at = from; at < end; at++) {
      for (size_t kind = 0; kind < kKinds; kind++) {
        if (next_[kind] < at) Search(kind, at);
      }
      const auto nearest = std::min_element(next_.begin(), next_.end());
      at = *nearest;
      if (at < end) look(at, static_cast<size_t>(nearest - next_.begin()));
    }
  }
  [[nodiscard]] uint64_t searches() const { return searches_; }

 private:
  void Search(size_t kind, uint64_t from) {
    searches_++;
    if (kind == 0) next_[kind] = table_.dirty_summary().Next(from);
    if (kind == 1) next_[kind] = table_.history_summary().Next(from);
    if (kind == 2) next_[kind] = evictor_.NextPresent(table_, from);
  }

  PageTable& table_;
  Evictor& evictor_;
  std::array<uint64_t, kKinds> next_{};
  uint64_t searches_ = 0;
};

// Draws one cell after the other, each from `words_max` words at most, or a few more.
class Painter {
 public:
  Painter(PageTable& table, Evictor& evictor, PageIndex from, uint64_t words_max)
      : table_(table),
        counted_(table, evictor, from / kSummaryPages),
        painted_(table, evictor, from / kSummaryPages),
        words_max_(words_max) {}

  uint8_t Paint(PageRun run) {
    bits_ = 0;
    present_ = looked_ = 0;
    std::array<Share, kKinds> shares{};
    const uint64_t first = run.first / kSummaryPages;
    const uint64_t end = (run.end() - 1) / kSummaryPages + 1;
    counted_.ForEach(first, end, [&](uint64_t chunk, size_t kind) {
      shares[kind].pages += Part(run, chunk).count;
      shares[kind].chunks++;
    });
    uint64_t covered = 0;
    for (const Share& share : shares) covered += share.pages;
    if (covered > words_max_) {
      // Whole chunks as far as there are words for them, and then words of a chunk.
      const uint64_t most = words_max_ / kKinds;
      for (Share& share : shares) share.Bound(most);
    }
    painted_.ForEach(first, end, [&](uint64_t chunk, size_t kind) {
      Share& share = shares[kind];
      if (share.seen++ % share.chunk_step == 0) PaintPart(Part(run, chunk), share.words_max);
    });
    words_ += looked_;
    if (present_ != 0 && (present_ < looked_ || covered < run.count)) bits_ |= kCellPartly;
    return bits_;
  }
  [[nodiscard]] PageMapCost cost() const {
    return {words_, counted_.searches() + painted_.searches()};
  }

 private:
  struct Share {
    void Bound(uint64_t most) {
      if (pages <= most) return;
      words_max = std::max<uint64_t>(most, 1);
      const uint64_t chunks_max = std::max<uint64_t>(most / kSummaryPages, 1);
      chunk_step = (chunks + chunks_max - 1) / chunks_max;
    }
    uint64_t pages = 0;
    uint64_t chunks = 0;
    uint64_t seen = 0;
    uint64_t chunk_step = 1;
    uint64_t words_max = kSummaryPages;  // of one chunk
  };

  static PageRun Part(PageRun run, uint64_t chunk) {
    const PageIndex first = std::max(run.first, chunk * kSummaryPages);
    return {first, std::min(run.end(), (chunk + 1) * kSummaryPages) - first};
  }

  void PaintPart(PageRun part, uint64_t words_max) {
    const uint64_t step = (part.count + words_max - 1) / words_max;
    for (PageIndex page = part.first; page < part.end(); page += step) {
      const uint8_t bits = BitsOf(table_.Load(page));
      bits_ |= bits;
      if ((bits & kCellPresent) != 0) present_++;
      looked_++;
    }
  }

  PageTable& table_;
  ChunkWalk counted_;
  ChunkWalk painted_;  // the same chunks a second time
  const uint64_t words_max_;
  uint64_t words_ = 0;
  // Of the cell: what was found, pages present, words looked at.
  uint8_t bits_ = 0;
  uint64_t present_ = 0;
  uint64_t looked_ = 0;
};

}  // namespace

PageMapCost DrawPageMap(Region& region, Evictor& evictor, PageRun run, std::span<uint8_t> cells) {
  std::fill(cells.begin(), cells.end(), uint8_t{0});
  if (run.count == 0 || cells.empty()) return {};
  Painter painter(*region.table, evictor, run.first, kPageMapWordsMax / cells.size());
  const auto border = [&](size_t cell) {
    const auto share = static_cast<unsigned __int128>(run.count) * cell;
    return static_cast<PageIndex>((share + cells.size() - 1) / cells.size());
  };
  for (size_t cell = 0; cell < cells.size(); cell++) {
    const PageIndex first = border(cell);
    const PageIndex end = border(cell + 1);
    if (first != end) cells[cell] = painter.Paint({run.first + first, end - first});
  }
  return painter.cost();
}

}  // namespace farpage
