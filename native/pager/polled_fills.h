// Cold fills without a hand-over, for a front door that polls.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "memory/fault_handler.h"
#include "pager/filler.h"

namespace farpage {

// Reads of one door under way, at most; further fills go to the pager's threads.
inline constexpr size_t kPolledReadsMax = 64;
// Reads looked at by one call, oldest first: a look costs a microsecond.
inline constexpr size_t kPolledLooksMax = 4;
// How long a read is polled for before a pager thread waits for it instead.
inline constexpr uint64_t kPolledNs = 500'000;

// The door has started the reads; here it looks whether they are done and installs the pages
// itself. A wake-up of a fill thread and one by it cost more than the looks in between, as long
// as the device is quick. One owner thread.
class PolledFills final : public FillQueue {
 public:
  PolledFills(Filler& filler, FrameBudget& budget) : filler_(filler), budget_(budget) {}
  ~PolledFills() override { HandOverAll(); }

  // Takes over a claimed run whose frames are taken and whose read has been started. False: there
  // is no place.
  bool Add(const std::shared_ptr<Region>& region, PageRun run, bool to_write);

  bool Look(uint64_t now_ns) override;
  void HandOverAll() override;
  [[nodiscard]] size_t outstanding() const override { return reads_.size(); }

 private:
  struct Read {
    std::shared_ptr<Region> region;
    PageRun run;
    bool to_write;
    uint64_t started_ns;
  };
  void HandOver(const Read& read);

  Filler& filler_;
  FrameBudget& budget_;
  std::deque<Read> reads_;
};

}  // namespace farpage
