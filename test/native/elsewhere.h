// Sources elsewhere without a network.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "check.h"
#include "memory/page_store.h"
#include "memory/region_copy.h"

namespace farpage::test {

// A place elsewhere that answers at once, and where nothing can be written.
class Elsewhere final : public PageStore {
 public:
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  Status Read(PageRun run, std::byte* into) override {
    std::fill_n(into, run.length_bytes(), std::byte{7});
    return {};
  }
  Status Write(std::span<PageImage>) override { return Error{Code::kUnsupported, 0, "elsewhere"}; }
  Status MakeDurable() override { return {}; }
};

// One that answers from a thread of its own, last first, and not while it holds; page `bad` fails.
class SlowElsewhere final : public PageStore {
 public:
  SlowElsewhere() : thread_([this] { Loop(); }) {}
  ~SlowElsewhere() override {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  // What all bytes of a page are.
  static std::byte ByteOf(PageIndex page) { return static_cast<std::byte>(page % 251 + 1); }
  Status Read(PageRun, std::byte*) override { std::abort(); }
  Status Write(std::span<PageImage>) override { return Error{Code::kUnsupported, 0, "elsewhere"}; }
  Status MakeDurable() override { return {}; }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override {
    CountRead(run);
    const std::lock_guard lock(mutex_);
    reads_.push_back({run, into, std::move(done)});
    wake_.notify_all();
  }
  void EndReads() override {
    ended = true;
    wake_.notify_all();
  }
  [[nodiscard]] size_t waiting() {
    const std::lock_guard lock(mutex_);
    return reads_.size();
  }
  void Answer() {
    holds = false;
    wake_.notify_all();
  }

  std::atomic<bool> holds{false};
  std::atomic<bool> ended{false};
  std::atomic<PageIndex> bad{~PageIndex{0}};

 private:
  struct Asked {
    PageRun run;
    std::byte* into;
    ReadDone done;
  };
  void Loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait_for(lock, std::chrono::milliseconds(1), [this] {
        return closing_ || (!reads_.empty() && (!holds || ended));
      });
      if (closing_) return;
      if (reads_.empty() || (holds && !ended)) continue;
      Asked asked = std::move(reads_.back());
      reads_.pop_back();
      lock.unlock();
      if (ended) {
        asked.done(Error{Code::kRegionRemoved, 0, "the region goes"});
      } else if (asked.run.first <= bad && bad < asked.run.end()) {
        asked.done(Error{Code::kIo, 0, "a bad page"});
      } else {
        for (PageIndex page = asked.run.first; page < asked.run.end(); page++) {
          const std::vector<std::byte> bytes(kPageBytes, ByteOf(page));
          std::byte* at = asked.into + ((page - asked.run.first) << kPageShift);
          CHECK(CopyToRegion(at, bytes.data(), bytes.size()));
        }
        asked.done({});
      }
      lock.lock();
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Asked> reads_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace farpage::test
