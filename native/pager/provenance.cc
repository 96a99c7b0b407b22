#include "pager/provenance.h"

#include <algorithm>

namespace farpage {
namespace {

// One answer on its way.
class Teller {
 public:
  Teller(std::function<PagesFrom(PageRun)> origin_of, const ProvenanceQuestion& asked)
      : origin_of_(std::move(origin_of)),
        end_(asked.range.end()),
        runs_max_(std::clamp<size_t>(asked.runs_max, 1, kProvenanceRunsMax)),
        copy_(asked.copy) {
    list_.next = asked.range.first;
  }

  // False: the answer is as long, or has cost as much, as it may.
  [[nodiscard]] bool Goes() const {
    return !full_ && list_.next < end_ && cost_ < kProvenanceCostMax;
  }
  [[nodiscard]] PageIndex at() const { return list_.next; }

  // The next pages, up to `end`, of which no word tells anything.
  void TellAbsent(PageIndex end) {
    while (Goes() && list_.next < end) {
      const PageOrigin origin = OriginAt(list_.next);
      const uint64_t pages = std::min(origin_end_, end) - list_.next;
      Add({{list_.next, pages}, Kept(origin), PagePlace::kNone, origin});
    }
  }

  // The next page, which has this word.
  void TellWord(PageWord word) {
    cost_++;
    const PageIndex page = list_.next;
    const PagePlace place = PlaceOf(word);
    if (StateOf(word) == PageState::kLost) {
      Add({{page, 1}, Provenance::kLost, PagePlace::kNone});
    } else if ((word & kWritten) != 0) {
      const bool dirty = (word & kUnsafe) != 0;
      Add({{page, 1}, dirty ? Provenance::kUnsaved : Provenance::kWrittenBack, place});
    } else if ((word & (kUnsafe | kStored)) != 0) {
      // A pull makes pages dirty without their being written, so that the kept file gets them.
      Add({{page, 1}, Provenance::kFromElsewhere, place});
    } else {
      const PageOrigin origin = OriginAt(page);
      Add({{page, 1}, place == PagePlace::kNone ? Kept(origin) : Here(origin), place, origin});
    }
  }

  ProvenanceList Take() { return std::move(list_); }

 private:
  static PagePlace PlaceOf(PageWord word) {
    switch (StateOf(word)) {
      case PageState::kPresent:
      case PageState::kCopying:
      case PageState::kEvicting: return PagePlace::kMemory;
      case PageState::kAbsent:
      case PageState::kFilling:
      case PageState::kLost: break;
    }
    return (word & kElsewhere) != 0 ? PagePlace::kTier : PagePlace::kNone;
  }

  // What an untouched page is, or in a file of the appliance's own was in an earlier life.
  [[nodiscard]] Provenance Kept(PageOrigin origin) const {
    if (origin != PageOrigin::kKept) return Provenance::kUntouched;
    return copy_ ? Provenance::kKept : Provenance::kWrittenBack;
  }
  [[nodiscard]] Provenance Here(PageOrigin origin) const {
    switch (origin) {
      case PageOrigin::kFill: return Provenance::kFilled;
      case PageOrigin::kFile: return Provenance::kFromFile;
      case PageOrigin::kRemote: return Provenance::kFromElsewhere;
      case PageOrigin::kKept: break;
    }
    return Kept(origin);
  }

  // One question for all pages of one origin.
  PageOrigin OriginAt(PageIndex page) {
    if (page < origin_first_ || page >= origin_end_) {
      const PagesFrom from = origin_of_({page, end_ - page});
      cost_ += kProvenanceAskCost;
      origin_ = from.origin;
      origin_first_ = page;
      origin_end_ = page + std::max<uint64_t>(from.pages, 1);
    }
    return origin_;
  }

  void Add(ProvenanceRun found) {
    if (found.state != Provenance::kUntouched && found.state != Provenance::kFilled) {
      found.origin = PageOrigin::kFill;  // nobody asks
    }
    std::vector<ProvenanceRun>& runs = list_.runs;
    const bool goes_on = !runs.empty() && runs.back().state == found.state &&
                         runs.back().place == found.place && runs.back().origin == found.origin;
    if (goes_on) {
      runs.back().run.count += found.run.count;
    } else if (runs.size() == runs_max_) {
      full_ = true;
      return;
    } else {
      runs.push_back(found);
    }
    list_.next = found.run.end();
  }

  const std::function<PagesFrom(PageRun)> origin_of_;
  const PageIndex end_;
  const size_t runs_max_;
  const bool copy_;
  ProvenanceList list_;
  bool full_ = false;
  uint64_t cost_ = 0;
  PageOrigin origin_ = PageOrigin::kFill;
  PageIndex origin_first_ = 0;
  PageIndex origin_end_ = 0;
};

}  // namespace

ProvenanceList TellProvenance(Region& region, Evictor& evictor, const ProvenanceQuestion& asked) {
  PageTable& table = *region.table;
  evictor.AwaitLent(region);
  ProvenanceQuestion within = asked;
  within.range.count = std::min(asked.range.end(), table.pages()) - asked.range.first;
  Teller teller([&](PageRun run) { return region.store->OriginOf(run); }, within);
  while (teller.Goes()) {
    const uint64_t from = teller.at() / kSummaryPages;
    const uint64_t chunk =
        std::min(evictor.NextPresent(table, from), table.history_summary().Next(from));
    const PageIndex end = within.range.end();
    teller.TellAbsent(std::min(end, chunk * kSummaryPages));
    const PageIndex last = std::min(end, (chunk + 1) * kSummaryPages);
    while (teller.Goes() && teller.at() < last) teller.TellWord(table.Load(teller.at()));
  }
  return teller.Take();
}

ProvenanceList TellReserved(const std::function<PagesFrom(PageRun)>& origin_of,
                            const ProvenanceQuestion& asked) {
  Teller teller(origin_of, asked);
  teller.TellAbsent(asked.range.end());
  return teller.Take();
}

}  // namespace farpage
