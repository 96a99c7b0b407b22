// What must hold of a pager when nobody uses it: no page on its way, none kept for nobody, and as
// many frames taken as there are pages.
#pragma once

#include <thread>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {

// Waits until no work is left, evicts all that can go, and checks the rest.
inline void CheckQuiet(Appliance& appliance) {
  Region& region = *appliance.region;
  const uint64_t deadline = NowNs() + 15'000'000'000;
  const auto busy = [&] {
    if (region.jobs.load() != 0 || appliance.pager.queued_faults() != 0) return true;
    for (PageIndex page = 0; page < region.table->pages(); page++) {
      const PageWord word = region.table->Load(page);
      const PageState state = StateOf(word);
      if (state != PageState::kAbsent && state != PageState::kPresent &&
          state != PageState::kLost) {
        return true;
      }
      if ((word & kHeld) != 0) return true;
    }
    return false;
  };
  bool quiet = !busy();
  while (!quiet && NowNs() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    quiet = !busy();
  }
  CHECK(quiet);
  if (!quiet) {
    // What it was. Of a quiet one nothing is asked twice: the hints thread may tell a store of
    // pages written long ago, which is a job for as long as it takes and changes no page.
    CHECK_EQ(region.jobs.load(), 0u);
    CHECK_EQ(appliance.pager.queued_faults(), 0u);
  }
  uint64_t frames = 0;
  uint64_t held = 0;
  uint64_t moving = 0;
  for (PageIndex page = 0; page < region.table->pages(); page++) {
    const PageWord word = region.table->Load(page);
    if (HoldsFrame(word)) frames++;
    if ((word & kHeld) != 0) held++;
    if (StateOf(word) == PageState::kFilling || StateOf(word) == PageState::kEvicting ||
        StateOf(word) == PageState::kCopying) {
      moving++;
    }
  }
  CHECK_EQ(held, 0u);
  CHECK_EQ(moving, 0u);
  CHECK_EQ(region.frames.used(), frames);
  CHECK_EQ(appliance.pager.budget().used(), frames);
  appliance.pager.Reclaim(appliance.region, {0, region.table->pages()});
  uint64_t dirty = 0;
  for (PageIndex page = 0; page < region.table->pages(); page++) {
    const PageWord word = region.table->Load(page);
    if (HoldsFrame(word) && (word & kUnsafe) != 0) dirty++;
  }
  CHECK_EQ(region.table->present(), dirty);
  CHECK_EQ(appliance.pager.budget().used(), dirty);
}

}  // namespace farpage::test
