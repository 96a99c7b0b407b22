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

// Draws one cell after the other, each from `words_max` words at most, or a few more.
class Painter {
 public:
  Painter(PageTable& table, Evictor& evictor, uint64_t words_max)
      : table_(table), evictor_(evictor), words_max_(words_max) {}

  uint8_t Paint(PageRun run) {
    bits_ = 0;
    present_ = looked_ = 0;
    std::array<Share, kKinds> shares{};
    ForEachChunk(run, [&](uint64_t chunk, size_t kind) {
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
    ForEachChunk(run, [&](uint64_t chunk, size_t kind) {
      Share& share = shares[kind];
      if (share.seen++ % share.chunk_step == 0) PaintPart(Part(run, chunk), share.words_max);
    });
    words_ += looked_;
    if (present_ != 0 && (present_ < looked_ || covered < run.count)) bits_ |= kCellPartly;
    return bits_;
  }
  [[nodiscard]] uint64_t words() const { return words_; }

 private:
  // Chunks with dirty pages, with others that were written, with present ones: each kind has its
  // share of the words, so that few pages of one are not lost among many of another.
  static constexpr size_t kKinds = 3;
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

  // Chunks that are not empty, each with its kind.
  template <typename Look>
  void ForEachChunk(PageRun run, Look look) {
    const uint64_t end = (run.end() - 1) / kSummaryPages + 1;
    std::array<uint64_t, kKinds> next{};
    for (uint64_t chunk = run.first / kSummaryPages;; chunk++) {
      next = {table_.dirty_summary().Next(chunk), table_.history_summary().Next(chunk),
              evictor_.NextPresent(table_, chunk)};
      const auto nearest = std::min_element(next.begin(), next.end());
      chunk = *nearest;
      if (chunk >= end) return;
      look(chunk, static_cast<size_t>(nearest - next.begin()));
    }
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
  Evictor& evictor_;
  const uint64_t words_max_;
  uint64_t words_ = 0;
  // Of the cell: what was found, pages present, words looked at.
  uint8_t bits_ = 0;
  uint64_t present_ = 0;
  uint64_t looked_ = 0;
};

}  // namespace

uint64_t DrawPageMap(Region& region, Evictor& evictor, PageRun run, std::span<uint8_t> cells) {
  std::fill(cells.begin(), cells.end(), uint8_t{0});
  if (run.count == 0 || cells.empty()) return 0;
  Painter painter(*region.table, evictor, kPageMapWordsMax / cells.size());
  const auto border = [&](size_t cell) {
    const auto share = static_cast<unsigned __int128>(run.count) * cell;
    return static_cast<PageIndex>((share + cells.size() - 1) / cells.size());
  };
  for (size_t cell = 0; cell < cells.size(); cell++) {
    const PageIndex first = border(cell);
    const PageIndex end = border(cell + 1);
    if (first != end) cells[cell] = painter.Paint({run.first + first, end - first});
  }
  return painter.words();
}

}  // namespace farpage
