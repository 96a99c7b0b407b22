// The page word: which moves there are, what is counted, and that no dirty page is overlooked.
#include <atomic>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "memory/page_table.h"
#include "pager/page_change.h"

namespace farpage::test {
namespace {

constexpr PageWord kPresentWord =
    static_cast<PageWord>(PageState::kPresent) | kReadable | kWritable;

std::unique_ptr<PageTable> Table(uint64_t pages) {
  auto table = PageTable::Create(pages);
  return table.ok() ? std::move(table).value() : nullptr;
}

void Install(PageTable& table, PageIndex page) {
  PageWord word = table.Load(page);
  (void)table.Change(page, word, WithState(word, PageState::kFilling));
  word = table.Load(page);
  (void)table.Change(page, word, kPresentWord);
}

}  // namespace

FARPAGE_TEST(page_word_moves_are_these_and_no_others) {
  const auto index = [](PageState state) { return static_cast<uint32_t>(state); };
  bool allowed[kPageStates][kPageStates] = {};
  const auto allow = [&](PageState from, PageState to) { allowed[index(from)][index(to)] = true; };
  allow(PageState::kAbsent, PageState::kFilling);
  allow(PageState::kFilling, PageState::kPresent);
  allow(PageState::kFilling, PageState::kAbsent);
  allow(PageState::kFilling, PageState::kLost);
  allow(PageState::kPresent, PageState::kEvicting);
  allow(PageState::kPresent, PageState::kCopying);
  allow(PageState::kPresent, PageState::kLost);
  allow(PageState::kEvicting, PageState::kAbsent);
  allow(PageState::kEvicting, PageState::kPresent);
  allow(PageState::kEvicting, PageState::kLost);
  allow(PageState::kCopying, PageState::kPresent);
  allow(PageState::kCopying, PageState::kLost);
  allow(PageState::kLost, PageState::kFilling);
  allow(PageState::kLost, PageState::kAbsent);
  for (uint32_t from = 0; from < kPageStates; from++) {
    for (uint32_t to = 0; to < kPageStates; to++) {
      CHECK_EQ(MayMove(static_cast<PageState>(from), static_cast<PageState>(to)),
               allowed[from][to]);
    }
  }
  for (const PageWord unsafe : {kDirty, kWriteback, kUnsynced}) {
    CHECK(!MayChange(kPresentWord | unsafe, WithState(kPresentWord, PageState::kEvicting)));
    CHECK(MayChange(kPresentWord | unsafe, WithState(kPresentWord | unsafe, PageState::kLost)));
  }
}

FARPAGE_TEST(page_table_counts_what_is_there) {
  const auto table = Table(3000);
  REQUIRE(table != nullptr);
  CHECK_EQ(table->present_summary().Next(0), table->present_summary().chunks());
  CHECK(!table->MarkDirty(2500));  // absent
  Install(*table, 2500);
  CHECK_EQ(table->present(), 1u);
  CHECK_EQ(table->dirty(), 0u);
  CHECK_EQ(table->present_summary().Next(0), 2u);
  CHECK_EQ(table->dirty_summary().Next(0), table->dirty_summary().chunks());
  CHECK(table->MarkDirty(2500));
  CHECK(table->MarkDirty(2500));
  CHECK_EQ(table->dirty(), 1u);
  CHECK_EQ(table->written(), 1u);
  CHECK_EQ(table->dirty_summary().Next(0), 2u);
  // Shut for a write-back: no writer comes in before it has asked.
  ChangePage(*table, 2500, [](PageWord word) {
    return (word & ~(kDirty | kWritable)) | kWriteback;
  });
  CHECK(!table->MarkDirty(2500));
  CHECK_EQ(table->dirty(), 1u);  // not safe yet
  ChangePage(*table, 2500, [](PageWord word) { return word & ~kWriteback; });
  CHECK_EQ(table->dirty(), 0u);
  ChangePage(*table, 2500, [](PageWord word) {
    return WithState(word & ~kReadable, PageState::kLost);
  });
  CHECK_EQ(table->lost(), 1u);
  CHECK_EQ(table->present(), 0u);
}

FARPAGE_TEST(page_table_summary_finds_every_chunk) {
  const uint64_t pages = kSummaryPages * 130 + 1;
  const auto table = Table(pages);
  REQUIRE(table != nullptr);
  Summary& summary = table->dirty_summary();
  CHECK_EQ(summary.chunks(), 131u);
  for (const uint64_t chunk : {uint64_t{0}, uint64_t{63}, uint64_t{64}, uint64_t{130}}) {
    summary.Set(chunk * kSummaryPages);
  }
  CHECK_EQ(summary.Next(0), 0u);
  CHECK_EQ(summary.Next(1), 63u);
  CHECK_EQ(summary.Next(64), 64u);
  CHECK_EQ(summary.Next(65), 130u);
  CHECK_EQ(summary.Next(131), 131u);
  summary.Clear(63);
  CHECK_EQ(summary.Next(1), 64u);
}

// One writer dirties a page, another finds it dirty and goes on; a sweep clears the summary and
// looks again. Whoever has marked a page must find its chunk in the summary, whoever came first.
FARPAGE_TEST(page_table_a_marked_page_is_in_the_summary_at_once) {
  const auto table = Table(2 * kSummaryPages);
  REQUIRE(table != nullptr);
  Install(*table, 1500);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> missed{0};
  std::atomic<uint32_t> phase{0};  // odd: writers mark; even: the sweep cleans
  std::atomic<uint32_t> done{0};
  std::vector<std::thread> writers;
  for (int n = 0; n < 2; n++) {
    writers.emplace_back([&] {
      uint32_t last = 0;
      while (!stop.load()) {
        const uint32_t now = phase.load();
        if (now == last || (now & 1) == 0) continue;
        last = now;
        if (!table->MarkDirty(1500)) missed++;
        if (table->dirty_summary().Next(1) != 1) missed++;
        done++;
      }
    });
  }
  const uint64_t end = NowNs() + 300'000'000;
  while (NowNs() < end) {
    done.store(0);
    phase++;
    while (done.load() != 2) std::this_thread::yield();
    phase++;
    ChangePage(*table, 1500, [](PageWord word) { return word & ~kDirty; });
    table->dirty_summary().Clear(1);
  }
  stop.store(true);
  for (std::thread& writer : writers) writer.join();
  CHECK_EQ(missed.load(), 0u);
  CHECK_EQ(table->dirty(), 0u);
}

}  // namespace farpage::test
