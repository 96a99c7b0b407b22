// The picture of a page table: exact where that is cheap, bounded where it is not.
#include "pager/page_map.h"

#include "appliance_fixture.h"
#include "check.h"
#include "pager/page_change.h"

namespace farpage::test {
namespace {

// A region that nobody pages: its words are what a test makes them.
struct Drawn {
  explicit Drawn(uint64_t bytes) {
    auto store = std::make_unique<FillValueStore>(FillValueStore::Value::kZero);
    auto memory = StagedMemory::Create(bytes, store.get());
    auto table = PageTable::Create(bytes >> kPageShift);
    if (!memory.ok() || !table.ok()) std::abort();
    Region::Options options;
    options.size_bytes = bytes;
    options.writable = true;
    region = std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                      std::move(memory).value());
  }
  void Make(PageIndex page, PageWord flags) {
    ChangePage(*region->table, page,
               [](PageWord word) { return WithState(word, PageState::kFilling); });
    ChangePage(*region->table, page, [&](PageWord word) {
      return WithState(word | flags, PageState::kPresent) | kReadable | kWritable;
    });
    if ((flags & kDirty) != 0) region->table->dirty_summary().Set(page);
  }
  std::vector<uint8_t> Draw(PageRun run, size_t cells) {
    std::vector<uint8_t> drawn(cells);
    const PageMapCost cost = DrawPageMap(*region, evictor, run, drawn);
    words = cost.words;
    searches = cost.searches;
    return drawn;
  }
  std::shared_ptr<Region> region;
  Shootdown shootdown;
  FrameBudget budget{1};
  WaiterList waiters;
  Evictor evictor{shootdown, budget, waiters};
  uint64_t words = 0;
  uint64_t searches = 0;
};

}  // namespace

FARPAGE_TEST(page_map_says_of_each_cell_what_is_true_of_its_pages) {
  Drawn drawn(40 << kPageShift);
  for (const PageIndex page : {0, 1, 2, 3, 4}) drawn.Make(PageIndex(page), 0);
  drawn.Make(9, kDirty | kWritten);
  drawn.Make(39, kWritten);
  const std::vector<uint8_t> expected = {
      kCellPresent,
      uint8_t{kCellPresent | kCellPartly},
      uint8_t{kCellPresent | kCellPartly | kCellDirty | kCellWritten},
      0, 0, 0, 0, 0, 0,
      uint8_t{kCellPresent | kCellPartly | kCellWritten | kCellWrittenBack},
  };
  CHECK(drawn.Draw({0, 40}, 10) == expected);
  CHECK_EQ(drawn.words, 40u);
  // A range of it, and more cells than pages.
  CHECK(drawn.Draw({4, 4}, 1) == std::vector<uint8_t>{uint8_t{kCellPresent | kCellPartly}});
  const auto many = drawn.Draw({38, 2}, 6);
  CHECK_EQ(std::count(many.begin(), many.end(), 0), 5);
  CHECK(drawn.Draw({0, 0}, 3) == std::vector<uint8_t>(3));
}

// What a picture costs is bounded, however much there is; nothing is looked at where nothing is.
FARPAGE_TEST(page_map_of_a_huge_region_reads_a_bounded_number_of_words) {
  Drawn drawn(kSparseBytes);
  const uint64_t pages = kSparseBytes >> kPageShift;
  (void)drawn.Draw({0, pages}, 76);
  CHECK_EQ(drawn.words, 0u);
  drawn.Make(pages / 2, kDirty | kWritten);
  CHECK((drawn.Draw({0, pages}, 76)[38] & kCellDirty) != 0);
  CHECK_EQ(drawn.words, kSummaryPages);
  // Three million pages, side by side, and one that is dirty among them.
  const uint64_t dense = 3'000'000;
  for (PageIndex page = 0; page < dense; page++) drawn.Make(page, page == 777'777 ? kDirty : 0);
  for (const size_t cells : {size_t{1}, size_t{76}, size_t{kPageMapCellsMax}}) {
    const auto all = drawn.Draw({0, dense}, cells);
    CHECK(drawn.words <= kPageMapWordsMax + cells);
    CHECK(drawn.words >= kPageMapWordsMax / 4);
    for (const uint8_t cell : all) {
      CHECK((cell & kCellPresent) != 0);
      CHECK((cell & kCellPartly) == 0);
    }
  }
  // One chunk of its kind is always looked at.
  CHECK((drawn.Draw({0, dense}, 76)[777'777 * 76 / dense] & kCellDirty) != 0);
}

// A kind of pages that a region has none of is searched for in each summary once, not from every
// chunk of another kind on to the end.
FARPAGE_TEST(page_map_searches_a_summary_for_what_is_there) {
  Drawn drawn(kSparseBytes);
  const uint64_t pages = kSparseBytes >> kPageShift;
  const uint64_t chunks = pages / kSummaryPages;
  const uint64_t step = chunks / 1024;
  for (uint64_t n = 0; n < 1024; n++) drawn.Make(n * step * kSummaryPages + n, 0);
  for (const size_t cells : {size_t{1}, size_t{76}, size_t{2048}}) {
    const auto all = drawn.Draw({0, pages}, cells);
    // Twice, to count and to paint: past each chunk, and once for every kind that there is not.
    CHECK(drawn.searches >= 2 * 1024);
    CHECK(drawn.searches <= 2 * (1024 + 3));
    const size_t filled = std::count_if(all.begin(), all.end(), [](uint8_t c) { return c != 0; });
    CHECK_EQ(filled, std::min<size_t>(cells, 1024));
  }
  // One chunk, in as many cells as it has pages.
  drawn.Make(1024 - 1, kWritten);
  const auto one = drawn.Draw({0, kSummaryPages}, kSummaryPages);
  CHECK_EQ(int(one[0]), int(kCellPresent));
  CHECK_EQ(int(one[1023]), int(kCellPresent | kCellWritten | kCellWrittenBack));
  CHECK_EQ(std::count(one.begin(), one.end(), 0), 1022);
  CHECK_EQ(drawn.searches, 2 * 3u);
}

}  // namespace farpage::test
