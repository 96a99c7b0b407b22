// Which pages a sweep takes.
#include <algorithm>

#include "pager/evictor.h"
#include "pager/page_change.h"
#include "pager/pager_marks.h"

namespace farpage {
namespace {

// What a page loses when it is taken.
constexpr PageWord kOfReach = kReadable | kWritable | kUses | kHeld | kAhead;

}  // namespace

bool Evictor::Spares(Pick pick, PageWord word) {
  switch (pick) {
    case Pick::kOnTrial: return !OnTrial(word);
    case Pick::kDirtyTrial: return !OnTrial(word) || (word & kUnsafe) == 0;
    case Pick::kProven: return OnTrial(word);
    case Pick::kNeverUsed: return OnTrial(word) && (word & kUnused) == 0;
    case Pick::kUnaccessed:
    case Pick::kAll: break;
  }
  return false;
}

Evictor::Verdict Evictor::Judge(PageWord word, const Rules& rules, bool pinned) {
  Verdict verdict{.word = word};
  // A written page that gives up its private copy is one that may go soon, too.
  const bool copying = StateOf(word) == PageState::kCopying && rules.cleans;
  if (StateOf(word) != PageState::kPresent && !copying) return verdict;
  if (!rules.cold.Has(word)) return verdict;
  verdict.pinned = pinned;
  if (pinned) return verdict;
  // What is being written back will be clean soon.
  if (copying || (word & kWriteback) != 0) {
    const PageWord present = WithState(word, PageState::kPresent);
    verdict.cleaning = rules.cleans && !Spares(rules.pick, present);
    return verdict;
  }
  if ((word & kHeld) != 0 && !rules.held) return verdict;
  verdict.unsynced = (word & (kDirty | kUnsynced)) == kUnsynced;
  verdict.dirty = (word & kUnsafe) != 0;
  if (verdict.dirty && rules.dirty) {
    verdict.again = true;
    verdict.word = GivenUp(word) & ~kWritable;
    return verdict;
  }
  const bool spills = verdict.dirty && rules.spilling != nullptr;
  if (verdict.dirty && !spills && !rules.cleans) return verdict;
  if (Spares(rules.pick, word)) return verdict;
  verdict.chance = (word & kUses) != 0 && rules.pick != Pick::kAll;
  if (verdict.chance) {
    verdict.word = WithoutUse(word);
    return verdict;
  }
  verdict.cleaning = verdict.dirty && !spills;
  if (verdict.cleaning) return verdict;
  verdict.dirty = false;
  verdict.taken = true;
  const PageWord elsewhere = spills ? kElsewhere : 0;
  verdict.word = WithState(word & ~kOfReach, PageState::kEvicting) | elsewhere;
  return verdict;
}

PageIndex Evictor::Collect(Region& region, PageRun within, uint64_t pages_max, const Rules& rules,
                           Victims* victims, EvictionResult* result) {
  PageIndex page = within.first;
  Pins::View pins(*region.pins);
  const auto enough = [&] {
    const uint64_t spills = rules.spilling == nullptr ? 0 : rules.spilling->pages;
    return victims->pages + spills + result->cleaning_pages >= pages_max ||
           spills >= rules.spills_max;
  };
  for (; page < within.end() && !enough(); page++) {
    const bool pinned = !rules.pinned && pins.Has(page);
    Verdict verdict;
    do {
      ChangePage(*region.table, page, [&](PageWord word) {
        verdict = Judge(word, rules, pinned);
        return verdict.word;
      });
    } while (verdict.again);
    if (verdict.taken) {
      Victims& taken = (verdict.word & kUnsafe) == 0 ? *victims : *rules.spilling;
      AppendPage(taken.runs, page);
      taken.pages++;
    }
    if (verdict.chance) victims->chances++;
    if (verdict.cleaning) result->cleaning_pages++;
    if (verdict.pinned) result->pinned_pages++;
    if (verdict.dirty) result->dirty_pages++;
    if (verdict.unsynced) result->unsynced_pages++;
    if (rules.busy == nullptr) continue;
    const PageState state = StateOf(verdict.word);
    const bool moves = state == PageState::kFilling || state == PageState::kCopying;
    if (moves || (verdict.word & kWriteback) != 0) AppendPage(*rules.busy, page);
  }
  return page;
}

void Evictor::CollectRun(Region& region, PageRun run, const Rules& rules, Victims* victims,
                         EvictionResult* result) {
  Summary& summary = region.table->present_summary();
  const PageIndex end = std::min(run.end(), region.table->pages());
  for (uint64_t chunk = summary.Next(run.first / kSummaryPages); chunk < summary.chunks();
       chunk = summary.Next(chunk + 1)) {
    const PageIndex first = std::max(run.first, chunk * kSummaryPages);
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    if (first >= end) break;
    Collect(region, {first, last - first}, ~uint64_t{0}, rules, victims, result);
  }
}

}  // namespace farpage
