// Which pages to keep: hit ratios of eviction policies on made traces, side by side. Nothing of the
// pager runs here: what its hand does is modelled by PageTableClock, the rest by their papers.
#include <algorithm>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "bench/commands.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "bench/trace.h"

namespace farpage::bench {
namespace {

// A cache of pages; true: a hit.
class Policy {
 public:
  virtual ~Policy() = default;
  virtual bool Access(uint64_t page) = 0;
};

// The clock hand over a page table, in address order; with `trial` as the pager's Evictor: pages
// not used again since they were filled go first, down to a twentieth of the frames, by a hand of
// their own, and of the others up to three uses are counted. A page that comes back soon needs no
// trial.
class PageTableClock final : public Policy {
 public:
  PageTableClock(uint64_t pages, uint64_t frames, bool trial)
      : words_(pages), frames_(frames), trial_(trial) {}
  bool Access(uint64_t page) override {
    Word& word = words_[page];
    if (word.present) {
      if (word.trial) {
        word.trial = false;
        on_trial_--;
      } else {
        word.uses = std::min<uint8_t>(static_cast<uint8_t>(word.uses + 1), trial_ ? kUsesMax : 1);
      }
      return true;
    }
    if (used_ == frames_) Evict();
    used_++;
    const bool ghost = word.went != 0 && Step() - word.went < kGhostSteps;
    const bool trial = trial_ && !ghost;
    word = {true, trial, static_cast<uint8_t>(trial_ ? 0 : 1), 0};
    if (trial) on_trial_++;
    return false;
  }

 private:
  static constexpr uint8_t kUsesMax = 3;
  static constexpr uint64_t kGhostSteps = 6;
  struct Word {
    bool present = false;
    bool trial = false;
    uint8_t uses = 0;
    uint64_t went = 0;  // when
  };
  // Counts evictions, a tenth of the frames each.
  [[nodiscard]] uint64_t Step() const { return 1 + evicted_ / (frames_ / 10); }
  void Evict() {
    const bool only_trial = on_trial_ > frames_ / 20;
    for (uint64_t step = 0;; step++) {
      uint64_t& hand = only_trial ? trial_hand_ : hand_;
      Word& word = words_[hand];
      hand = hand + 1 == words_.size() ? 0 : hand + 1;
      if (!word.present) continue;
      if (only_trial ? !word.trial : word.trial && step < words_.size()) continue;
      if (word.uses != 0) {
        word.uses--;
        continue;
      }
      if (word.trial) on_trial_--;
      evicted_++;
      word = {false, false, 0, Step()};
      used_--;
      return;
    }
  }

  std::vector<Word> words_;
  const uint64_t frames_;
  const bool trial_;
  uint64_t used_ = 0;
  uint64_t on_trial_ = 0;
  uint64_t evicted_ = 0;
  uint64_t hand_ = 0;
  uint64_t trial_hand_ = 0;
};

// S3-FIFO (Yang et al., SOSP 2023): a small queue of a tenth, a main queue, and ghosts.
class S3Fifo final : public Policy {
 public:
  S3Fifo(uint64_t pages, uint64_t frames)
      : small_max_(frames / 10), main_max_(frames - frames / 10), state_(pages) {}
  bool Access(uint64_t page) override {
    State& state = state_[page];
    if (state.queue != 0) {
      state.uses = std::min<uint8_t>(static_cast<uint8_t>(state.uses + 1), 3);
      return true;
    }
    if (small_.size() + main_.size() >= small_max_ + main_max_) Evict();
    const bool ghost = state.ghost != 0 && ghosts_ - state.ghost < main_max_;
    state = {static_cast<uint8_t>(ghost ? 2 : 1), 0, 0};
    (ghost ? main_ : small_).push_back(page);
    return false;
  }

 private:
  struct State {
    uint8_t queue = 0;
    uint8_t uses = 0;
    uint64_t ghost = 0;
  };
  void Evict() {
    while (!small_.empty() && (small_.size() >= small_max_ || main_.empty())) {
      const uint64_t page = small_.front();
      small_.pop_front();
      if (state_[page].uses <= 1) {
        state_[page] = {0, 0, ++ghosts_};
        return;
      }
      state_[page] = {2, 0, 0};
      main_.push_back(page);
      if (main_.size() > main_max_) EvictMain();
    }
    EvictMain();
  }
  void EvictMain() {
    while (!main_.empty()) {
      const uint64_t page = main_.front();
      main_.pop_front();
      if (state_[page].uses == 0) {
        state_[page] = {};
        return;
      }
      state_[page].uses--;
      main_.push_back(page);
    }
  }

  const uint64_t small_max_;
  const uint64_t main_max_;
  std::vector<State> state_;
  std::deque<uint64_t> small_;
  std::deque<uint64_t> main_;
  uint64_t ghosts_ = 0;
};

// 2Q (Johnson and Shasha, VLDB 1994): a FIFO of a quarter, ghosts of a half, an LRU of the rest.
class TwoQueues final : public Policy {
 public:
  TwoQueues(uint64_t pages, uint64_t frames)
      : frames_(frames), where_(pages, kNone), at_(pages) {}
  bool Access(uint64_t page) override {
    if (where_[page] == kMain) main_.splice(main_.begin(), main_, at_[page]);
    if (where_[page] == kMain || where_[page] == kIn) return true;
    const bool ghost = where_[page] == kOut;
    if (ghost) out_.erase(at_[page]);
    if (in_.size() + main_.size() >= frames_) Evict();
    Put(page, ghost ? main_ : in_, ghost ? kMain : kIn);
    return false;
  }

 private:
  enum Where : uint8_t { kNone, kIn, kMain, kOut };
  void Put(uint64_t page, std::list<uint64_t>& list, Where where) {
    list.push_front(page);
    at_[page] = list.begin();
    where_[page] = where;
  }
  void Evict() {
    if (in_.size() <= frames_ / 4 && !main_.empty()) {
      where_[main_.back()] = kNone;
      main_.pop_back();
      return;
    }
    const uint64_t page = in_.back();
    in_.pop_back();
    Put(page, out_, kOut);
    if (out_.size() <= frames_ / 2) return;
    where_[out_.back()] = kNone;
    out_.pop_back();
  }

  const uint64_t frames_;
  std::vector<Where> where_;
  std::vector<std::list<uint64_t>::iterator> at_;
  std::list<uint64_t> in_;
  std::list<uint64_t> main_;
  std::list<uint64_t> out_;
};

// Of what comes after the first quarter, which fills the frames.
double HitRatio(const std::vector<uint64_t>& trace, Policy& policy) {
  uint64_t hits = 0;
  const size_t warm = trace.size() / 4;
  for (size_t n = 0; n < trace.size(); n++) {
    const bool hit = policy.Access(trace[n]);
    if (hit && n >= warm) hits++;
  }
  return static_cast<double>(hits) / static_cast<double>(trace.size() - warm);
}

}  // namespace

void PolicyCommand(Options& options) {
  const uint64_t pages = options.Number("pages", 50'000, 1000, 100'000'000);
  const uint64_t length = options.Number("accesses", 1'000'000, 1000, 1'000'000'000);
  const uint64_t seed = options.Number("seed", 5, 0, UINT32_MAX);
  const auto traces = options.Words("traces", kTraces, kTraces);
  // Frames as a part of the pages: a tenth, a fiftieth; the smallest comes last.
  const auto parts = options.Numbers("parts", "10,50", 2, 1000);
  // Frames that the pager's hand does without, unlike the others: for tables, or kept free.
  const uint64_t spared = options.Number("spared", 0, 0, pages / parts.back() / 2);
  options.Finish();
  for (const std::string& name : traces) {
    for (const uint64_t part : parts) {
      const auto trace = MakeTrace(name, pages, length, seed);
      const uint64_t frames = pages / part;
      JsonObject row;
      row.Add("trace", name).Add("pages", pages).Add("frames", frames).Add("accesses", length);
      const auto add = [&](const char* policy_name, std::unique_ptr<Policy> policy) {
        row.Add(policy_name, HitRatio(trace, *policy));
      };
      add("clock", std::make_unique<PageTableClock>(pages, frames, false));
      add("farpage", std::make_unique<PageTableClock>(pages, frames - spared, true));
      add("s3-fifo", std::make_unique<S3Fifo>(pages, frames));
      add("2q", std::make_unique<TwoQueues>(pages, frames));
      row.Print();
    }
  }
}

}  // namespace farpage::bench
