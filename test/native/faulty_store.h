// A store and a memory whose n-th call fails, over a device that forgets what was never durable.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "memory/page_store.h"
#include "memory/region.h"
#include "memory/region_copy.h"
#include "memory/region_memory.h"
#include "os/mapping.h"

namespace farpage::test {

enum FaultyCall : uint32_t { kFaultyRead = 1, kFaultyWrite = 2, kFaultySync = 4 };

// Counts the calls of the kinds in `kinds`; the `fail_at`-th of them (1-based) fails. 0: none.
struct FaultPlan {
  std::atomic<uint64_t> calls{0};
  std::atomic<uint64_t> fail_at{0};
  std::atomic<uint32_t> kinds{kFaultyRead | kFaultyWrite | kFaultySync};
  std::atomic<int> error{EIO};

  bool Hit(FaultyCall kind) {
    return (kinds.load() & kind) != 0 && calls.fetch_add(1) + 1 == fail_at.load();
  }
  // From now on: the `nth` call of `which` kinds fails with `number`.
  void Arm(uint32_t which, uint64_t nth, int number = EIO) {
    calls = 0;
    kinds = which;
    error = number;
    fail_at = nth;
  }
  [[nodiscard]] bool reached() const { return fail_at.load() != 0 && calls >= fail_at; }
};

// Two copies: what was written, and what was durable. A failed MakeDurable does what kernels do:
// it forgets the written bytes that never became durable, says so once, and then says all is well.
class FaultyStore final : public PageStore {
 public:
  FaultyStore(uint64_t length_bytes, FaultPlan* plan)
      : plan_(plan), written_(length_bytes), durable_(length_bytes) {}

  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kFile, run.count};
  }
  [[nodiscard]] StoreIdentity Identity() const override { return {device, 0, 0, 0}; }
  uint64_t device = 0;  // before its region is added
  Status Read(PageRun run, std::byte* into) override {
    if (plan_->Hit(kFaultyRead)) return SystemError("read", plan_->error.load());
    const std::lock_guard lock(mutex_);
    const uint64_t from = run.offset_bytes();
    const uint64_t bytes = std::min<uint64_t>(run.length_bytes(), written_.size() - from);
    return CopyToRegion(into, written_.data() + from, bytes) ? Status() : SystemError("copy", EIO);
  }

  Status Write(std::span<PageImage> images) override {
    for (PageImage& image : images) image.outcome = WriteImage(image);
    return {};
  }

  Status MakeDurable() override {
    if (on_sync_) on_sync_();
    const bool fails = plan_->Hit(kFaultySync);
    const std::lock_guard lock(mutex_);
    syncs_++;
    std::vector<std::byte>& from = fails ? durable_ : written_;
    std::vector<std::byte>& to = fails ? written_ : durable_;
    for (const PageIndex page : unsynced_) {
      const uint64_t at = page << kPageShift;
      const uint64_t bytes = std::min<uint64_t>(kPageBytes, from.size() - at);
      std::memcpy(to.data() + at, from.data() + at, bytes);
    }
    unsynced_.clear();
    return fails ? Status(SystemError("fdatasync", plan_->error.load())) : Status();
  }

  [[nodiscard]] bool writes_elsewhere() const override { return elsewhere.load(); }
  // Says that Write waits for a peer.
  std::atomic<bool> elsewhere{false};

  // Every image with this page in it fails until it is set to ~0.
  void SetBadPage(PageIndex page) { bad_page_.store(page); }
  // Called at the start of every image, and of every sync, on the thread that writes.
  void SetOnWrite(std::function<void()> hook) { on_write_ = std::move(hook); }
  void SetOnSync(std::function<void()> hook) { on_sync_ = std::move(hook); }

  std::vector<std::byte> Durable() {
    const std::lock_guard lock(mutex_);
    return durable_;
  }
  uint64_t syncs() {
    const std::lock_guard lock(mutex_);
    return syncs_;
  }
  // Both copies at once; before any use.
  void Fill(std::span<const std::byte> bytes) {
    std::memcpy(written_.data(), bytes.data(), bytes.size());
    durable_ = written_;
  }

 private:
  Status WriteImage(const PageImage& image) {
    if (on_write_) on_write_();
    if (plan_->Hit(kFaultyWrite)) return SystemError("write", plan_->error.load());
    const PageIndex bad = bad_page_.load();
    if (image.run.first <= bad && bad < image.run.end()) return SystemError("write", EIO);
    std::vector<std::byte> bytes(image.length_bytes);
    if (!CopyFromRegion(bytes.data(), image.bytes, bytes.size())) return SystemError("copy", EIO);
    const std::lock_guard lock(mutex_);
    std::memcpy(written_.data() + image.run.offset_bytes(), bytes.data(), bytes.size());
    for (PageIndex page = image.run.first; page < image.run.end(); page++) unsynced_.insert(page);
    return {};
  }

  FaultPlan* plan_;
  std::function<void()> on_write_;
  std::function<void()> on_sync_;
  std::atomic<PageIndex> bad_page_{~PageIndex{0}};
  std::mutex mutex_;  // guards what follows
  std::vector<std::byte> written_;
  std::vector<std::byte> durable_;
  std::set<PageIndex> unsynced_;
  uint64_t syncs_ = 0;
};

// Memory over a FaultyStore that behaves as a private mapping of it does: a written page is a copy
// of its own until DropPrivateCopies shows the store's bytes again.
class FaultyMemory final : public RegionMemory {
 public:
  FaultyMemory(uint64_t length_bytes, FaultyStore* store) : store_(store) {
    const uint64_t rounded = (length_bytes + kPageBytes - 1) & ~(kPageBytes - 1);
    auto mapping = Mapping::Anonymous(rounded);
    if (!mapping.ok()) std::abort();
    mapping_ = std::move(mapping).value();
  }

  [[nodiscard]] std::byte* address() const override { return mapping_.data(); }
  [[nodiscard]] uint64_t PopulatesInPlace(PageRun run) const override {
    return in_place ? run.count : 0;
  }
  void StartRead(PageRun) override {
    if (on_start_read) on_start_read();
  }
  [[nodiscard]] bool IsRead(PageRun) const override { return !polls || !hold_fills.load(); }
  Status Populate(PageRun run) override {
    waiting_fills++;
    while (hold_fills.load()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    waiting_fills--;
    return store_->Read(run, At(run));
  }
  Status MakeRoom(PageRun) override { return {}; }
  [[nodiscard]] bool drops_by_runs() const override { return by_runs; }
  void Drop(std::span<const PageRun> runs) override {
    if (on_drop) on_drop(runs);
    for (const PageRun& run : runs) {
      dropped_pages += run.count;
      ::madvise(At(run), run.length_bytes(), MADV_DONTNEED);
    }
  }
  void DropPrivateCopies(std::span<const PageRun> runs) override {
    for (const PageRun& run : runs) {
      private_drops += run.count;
      if (!store_->Read(run, At(run)).ok()) std::abort();  // never planned to fail: see kinds
    }
  }
  void DropWindow(PageRun) override { dropped_windows++; }
  [[nodiscard]] bool has_private_copies() const override { return private_copies; }
  [[nodiscard]] bool polls_reads() const override { return polls; }

  // While set, fills wait for it to be cleared, as for a device that does not answer.
  std::atomic<bool> hold_fills{false};
  std::atomic<uint32_t> waiting_fills{0};
  std::function<void()> on_start_read;  // on the thread that met the fault
  std::function<void(std::span<const PageRun>)> on_drop;  // before it drops them
  bool in_place = false;
  bool by_runs = false;
  bool polls = true;  // false: IsRead cannot tell, and says yes; fill threads wait
  bool private_copies = false;
  std::atomic<uint64_t> dropped_pages{0};
  std::atomic<uint64_t> private_drops{0};
  std::atomic<uint64_t> dropped_windows{0};

 private:
  [[nodiscard]] std::byte* At(PageRun run) const { return address() + run.offset_bytes(); }
  FaultyStore* store_;
  Mapping mapping_;
};

// A region of both, and what a test wants to reach in it.
struct FaultyRegion {
  FaultyStore* store = nullptr;
  FaultyMemory* memory = nullptr;
  std::shared_ptr<Region> region;
};

inline FaultyRegion MakeFaultyRegion(const Region::Options& options, FaultPlan* plan) {
  InstallBusErrorGuard();
  FaultyRegion made;
  auto store = std::make_unique<FaultyStore>(options.size_bytes, plan);
  auto memory = std::make_unique<FaultyMemory>(options.size_bytes, store.get());
  made.store = store.get();
  made.memory = memory.get();
  auto table = PageTable::Create((options.size_bytes + kPageBytes - 1) >> kPageShift);
  if (!table.ok()) std::abort();
  made.region = std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                         std::move(memory));
  return made;
}

}  // namespace farpage::test
