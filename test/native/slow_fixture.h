// Regions beside each other, one of which waits at a gate.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <vector>

#include "check.h"
#include "faulty_fixture.h"

namespace farpage::test {

// What a test holds up until it has seen enough.
class Gate {
 public:
  ~Gate() { Open(); }
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    held_++;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    held_--;
  }
  void Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool AwaitHeld(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, std::chrono::nanoseconds(kPatienceNs),
                             [&] { return held_ == count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int held_ = 0;
  bool open_ = false;
};

// A write-back that was submitted.
struct Asked {
  Asked(Appliance& appliance, const std::shared_ptr<Region>& region) {
    appliance.pager.write_back().Submit(
        region, {0, region->table->pages()}, true,
        [this](Result<WriteBackReceipt> done) {
          code = done.ok() ? Code::kOk : done.error().code;
          ended = true;
        });
  }
  bool Await() const {
    return test::Await([this] { return ended.load(); });
  }
  std::atomic<Code> code{Code::kInternal};
  std::atomic<bool> ended{false};
};

// Regions beside each other; each writes to a store of its own.
struct Neighbours {
  explicit Neighbours(uint64_t frames) : appliance(Settings(frames)) {}
  ~Neighbours() {
    gate.Open();
    for (const auto& made : regions) made->memory->hold_fills = false;
    for (const auto& made : regions) {
      made->region->removed.store(true);
      appliance.domain->DeregisterAll(made->region.get());
      appliance.pager.RemoveRegion(made->region);
    }
  }
  static ApplianceOptions Settings(uint64_t frames) {
    ApplianceOptions settings;
    settings.frames_max = frames;
    settings.read_ahead_pages = 0;
    settings.window_bytes = kPageBytes;
    return settings;
  }
  struct Neighbour : FaultyRegion {
    uint32_t stag = 0;
    FaultPlan plan;
  };
  Neighbour& Add(uint64_t pages, bool write_behind = false, uint64_t device = 0) {
    Region::Options options;
    options.size_bytes = pages << kPageShift;
    options.writable = true;
    options.write_behind = write_behind;
    auto made = std::make_unique<Neighbour>();
    static_cast<FaultyRegion&>(*made) = MakeFaultyRegion(options, &made->plan);
    made->store->device = device;
    appliance.pager.AddRegion(made->region);
    auto stag = appliance.domain->Register(made->region, 0, options.size_bytes, true);
    CHECK(stag.ok());
    made->stag = stag.value();
    regions.push_back(std::move(made));
    return *regions.back();
  }
  // One whose store waits at the gate.
  Neighbour& AddSlow(uint64_t pages, bool write_behind = false) {
    Neighbour& made = Add(pages, write_behind);
    made.store->elsewhere = true;
    made.store->SetOnWrite([this] { gate.Pass(); });
    return made;
  }
  // The same of a device that hangs: nothing tells that it is slow.
  Neighbour& AddHung(uint64_t pages, bool write_behind = false) {
    Neighbour& made = AddSlow(pages, write_behind);
    made.store->elsewhere = false;
    return made;
  }
  // One whose device answers no read until its memory is told to hold none.
  Neighbour& AddSilent(uint64_t pages, uint64_t device) {
    Neighbour& made = Add(pages, false, device);
    made.memory->hold_fills = true;
    return made;
  }
  // Reads on their way from such a device, of a region or several.
  static uint32_t HeldReads(std::initializer_list<Neighbour*> from) {
    uint32_t held = 0;
    for (const Neighbour* each : from) held += each->memory->waiting_fills.load();
    return held;
  }
  void Put(const Neighbour& to, PageIndex first, uint64_t count, uint8_t value) {
    const auto user = appliance.Connect();
    REQUIRE(user != nullptr);
    const std::vector<std::byte> bytes(kPageBytes, std::byte{value});
    for (PageIndex page = first; page < first + count; page++) {
      const auto done =
          Write(*user, to.stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes));
      CHECK_EQ(int(done.code), 0);
      if (done.code != Code::kOk) return;
    }
  }
  void Get(const Neighbour& from, PageIndex first, uint64_t count) {
    const auto user = appliance.Connect();
    REQUIRE(user != nullptr);
    std::vector<std::byte> bytes(kPageBytes);
    for (PageIndex page = first; page < first + count; page++) {
      const auto done =
          Read(*user, from.stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes));
      CHECK_EQ(int(done.code), 0);
      if (done.code != Code::kOk) return;
    }
  }

  Gate gate;
  std::vector<std::unique_ptr<Neighbour>> regions;
  Appliance appliance;
};

// Whether the store has `value` in each of its pages, durably.
inline bool Has(FaultyStore& store, PageIndex first, uint64_t count, uint8_t value) {
  const std::vector<std::byte> durable = store.Durable();
  const auto from = durable.begin() + static_cast<ptrdiff_t>(first << kPageShift);
  return std::all_of(from, from + static_cast<ptrdiff_t>(count << kPageShift),
                     [&](std::byte byte) { return byte == std::byte{value}; });
}

}  // namespace farpage::test
