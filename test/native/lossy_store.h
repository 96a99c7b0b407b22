// A pull into a store that fails, and what of it such a store keeps for good.
#pragma once

#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "stores/journal_folder.h"

namespace farpage::test {

inline constexpr uint64_t kPulledPages = 5 * kPrefetchRunPages + 7;
inline constexpr uint64_t kPullPatienceNs = 20'000'000'000;

// A store over a source, that loses what a failed sync was to make durable, as a kernel does.
class LossyStore final : public PageStore {
 public:
  // What all bytes of a page are.
  static std::byte ByteOf(PageIndex page) { return static_cast<std::byte>(page * 31 + 5); }
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    const std::lock_guard lock(mutex_);
    const auto origin = [&](PageIndex page) {
      return written_.contains(page) ? PageOrigin::kKept : PageOrigin::kRemote;
    };
    uint64_t pages = 1;
    while (pages < run.count && origin(run.first + pages) == origin(run.first)) pages++;
    return {origin(run.first), pages};
  }
  [[nodiscard]] bool keeps_what_it_pulls() const override { return true; }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override {
    if (run.first < held_from) {
      done(Read(run, into));
      return;
    }
    const std::lock_guard lock(mutex_);
    held_.push_back([this, run, into, done = std::move(done)] { done(Read(run, into)); });
  }
  // Answers the reads of pages from `held_from` on, so far and from now on.
  void Answer() {
    held_from = ~PageIndex{0};
    std::vector<std::function<void()>> held;
    {
      const std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    for (const auto& answer : held) answer();
  }
  Status Read(PageRun run, std::byte* into) override {
    CountRead(run);
    for (PageIndex page = run.first; page < run.end(); page++, into += kPageBytes) {
      std::memset(into, static_cast<int>(ByteOf(page)), kPageBytes);
    }
    return {};
  }
  Status Write(std::span<PageImage> images) override {
    for (PageImage& image : images) {
      {
        const std::lock_guard lock(mutex_);
        for (PageIndex page = image.run.first; page < image.run.end(); page++) {
          const size_t at = (page - image.run.first) << kPageShift;
          if (image.bytes[at] != ByteOf(page)) wrong_++;
          if (page >= full_from) {
            image.outcome = Error{Code::kNoSpace, 0, "says the test"};
            continue;
          }
          written_.insert(page);
          under_way_.insert(page);
        }
      }
      on_write(image.run);
    }
    return {};
  }
  Status MakeDurable() override {
    on_sync();
    const std::lock_guard lock(mutex_);
    const bool fails = fails_next.exchange(false);
    if (!fails) durable_.insert(under_way_.begin(), under_way_.end());
    under_way_.clear();
    if (fails) return Error{Code::kIo, 0, "says the test"};
    return {};
  }
  uint64_t durable_pages() {
    const std::lock_guard lock(mutex_);
    return durable_.size();
  }
  uint64_t wrong_pages() {
    const std::lock_guard lock(mutex_);
    return wrong_;
  }

  std::atomic<PageIndex> held_from{~PageIndex{0}};
  std::function<void(PageRun)> on_write = [](PageRun) {};
  std::function<void()> on_sync = [] {};
  std::atomic<bool> fails_next{false};
  std::atomic<PageIndex> full_from{~PageIndex{0}};

 private:
  mutable std::mutex mutex_;
  std::vector<std::function<void()>> held_;
  std::set<PageIndex> written_;
  std::set<PageIndex> under_way_;
  std::set<PageIndex> durable_;
  uint64_t wrong_ = 0;
};

// Of a region that is written page by page, or atomically.
struct Pull {
  explicit Pull(bool atomic = false) {
    auto owned = std::make_unique<LossyStore>();
    store = owned.get();
    Region::Options options;
    options.size_bytes = kPulledPages << kPageShift;
    options.writable = true;
    options.atomic = atomic;
    auto memory = StagedMemory::Create(options.size_bytes, store);
    auto journal = JournalFolder::Open(appliance.folder.File("journal"));
    if (!memory.ok() || !journal.ok()) std::abort();
    if (atomic) appliance.pager.atomic_sync().UseJournal(std::move(journal).value());
    stag = appliance.Use(options, std::move(owned), std::move(memory).value());
  }
  void Begin() {
    ended_ = false;
    appliance.pager.prefetcher().Begin(appliance.region, {0, kPulledPages},
                                       [this](const PrefetchReport& told) {
                                         const std::lock_guard lock(mutex_);
                                         report = told;
                                         ended_ = true;
                                         wake_.notify_all();
                                       });
  }
  bool Ends() {
    std::unique_lock lock(mutex_);
    const std::chrono::nanoseconds patience(kPullPatienceNs);
    return wake_.wait_for(lock, patience, [this] { return ended_; });
  }
 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;

 public:
  LossyStore* store = nullptr;
  uint32_t stag = 0;
  PrefetchReport report;
  Appliance appliance;  // goes first: nothing of it calls back afterwards
};

}  // namespace farpage::test
