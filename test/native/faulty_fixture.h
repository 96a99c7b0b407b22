// An appliance over a faulty store.
#pragma once

#include "appliance_fixture.h"
#include "faulty_store.h"
#include "quiet.h"

namespace farpage::test {

struct FaultyAppliance {
  struct Options {
    uint64_t pages = 64;
    uint64_t frames = 1024;
    bool write_behind = false;
    uint32_t fill_threads = 4;
  };
  explicit FaultyAppliance(const Options& options) : appliance(Settings(options)) {
    InstallBusErrorGuard();
    Region::Options region;
    region.size_bytes = options.pages << kPageShift;
    region.writable = true;
    region.write_behind = options.write_behind;
    auto made_store = std::make_unique<FaultyStore>(region.size_bytes, &plan);
    auto made_memory = std::make_unique<FaultyMemory>(region.size_bytes, made_store.get());
    store = made_store.get();
    memory = made_memory.get();
    stag = appliance.Use(region, std::move(made_store), std::move(made_memory));
  }

  static ApplianceOptions Settings(const Options& options) {
    ApplianceOptions settings;
    settings.frames_max = options.frames;
    settings.read_ahead_pages = 0;
    settings.window_bytes = kPageBytes;
    settings.fill_threads = options.fill_threads;
    return settings;
  }

  // Waits until as many fills are held by the memory.
  void AwaitFills(uint32_t count) {
    const uint64_t deadline = NowNs() + 5'000'000'000;
    while (memory->waiting_fills.load() < count && NowNs() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(memory->waiting_fills.load() >= count);
  }

  FaultPlan plan;
  Appliance appliance;
  FaultyStore* store = nullptr;
  FaultyMemory* memory = nullptr;
  uint32_t stag = 0;
};

inline constexpr uint32_t kLong = 60'000;

inline void Nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

// How long a test waits for what another thread does, at most.
inline constexpr uint64_t kPatienceNs = 60'000'000'000;

template <typename Condition>
bool Await(Condition condition) {
  const uint64_t deadline = NowNs() + kPatienceNs;
  while (!condition() && NowNs() < deadline) Nap(1);
  return condition();
}

// Posts and flushes; the answers are somebody else's business.
inline void PostReads(Initiator& initiator, uint32_t stag, uint32_t count, uint32_t bytes,
                      std::vector<std::byte>& into, uint64_t step = kPageBytes) {
  into.resize(std::max<size_t>(into.size(), bytes));
  for (uint32_t n = 0; n < count; n++) {
    WorkRequest request;
    request.id = n;
    request.stag = stag;
    request.remote_offset = n * step;
    request.length_bytes = bytes;
    request.local = into.data();
    CHECK_EQ(initiator.Post({&request, 1}), 1u);
  }
  initiator.Flush();
}

// Everything posted completes; the first code that is not kOk.
inline Code AwaitAll(Initiator& initiator, uint64_t patience_ns = 10'000'000'000) {
  Code first = Code::kOk;
  const uint64_t deadline = NowNs() + patience_ns;
  while (initiator.in_flight() != 0 || initiator.completions() != 0) {
    Completion completion;
    if (initiator.Poll({&completion, 1}) == 1) {
      if (first == Code::kOk) first = completion.code;
      continue;
    }
    if (!initiator.Wait(20'000, deadline).ok()) return Code::kTimeout;
  }
  return first;
}

}  // namespace farpage::test
