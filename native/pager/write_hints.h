// Telling stores which pages they will be asked to write, before anybody waits for it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/region.h"
#include "os/thread.h"

namespace farpage {

// Runs that wait for the thread, at most; others are forgotten, which only costs the sync time.
inline constexpr size_t kWriteHintsMax = 16'384;
// How long the thread lets hints gather: they are given when the pages have been written.
inline constexpr uint64_t kHintRestNs = 1'000'000;

// One thread that passes on, outside every fault and every sync, what PageStore::WillWrite may
// take its time for. Asleep while nobody writes pages anew. Thread: any.
class WriteHints {
 public:
  WriteHints() : thread_("hints", [this] { Loop(); }) {}
  ~WriteHints() { Close(); }

  // Pages of `run` are about to be written to, for the first time since they were clean or absent.
  // Takes some 50 ns, and a wake-up when the thread was asleep.
  void Note(const std::shared_ptr<Region>& region, PageRun run);

  // Ends the thread; hints that wait are forgotten. Idempotent.
  void Close();

 private:
  struct Hint {
    std::shared_ptr<Region> region;
    PageRun run;
  };
  void Loop();

  std::mutex mutex_;  // guards hints_, asleep_ and closing_
  std::condition_variable wake_;
  std::vector<Hint> hints_;
  bool asleep_ = false;
  bool closing_ = false;
  Thread thread_;
};

}  // namespace farpage
