// Where the newest bytes of pages are kept that region memory has no room for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/page.h"
#include "base/result.h"

namespace farpage {

// One page on its way out of region memory.
struct OverlayPage {
  PageIndex page = 0;
  const std::byte* bytes = nullptr;  // kPageBytes of them, which nobody changes meanwhile
  Status outcome;                    // set by Store, which leaves out what has failed before
};

// The overlay of one region: the pager and nothing else moves pages into it and out of it, and
// says so in the page word (kElsewhere). Requires for every page: the caller has claimed it.
class PageOverlay {
 public:
  virtual ~PageOverlay() = default;

  // Keeps copies, each with its own outcome: kNoSpace, kIo. In order; none is here already. May
  // wait for a device.
  virtual void Store(std::span<OverlayPage> pages) = 0;

  // Puts the newest bytes of a page at `into`; they stay here, too. May wait for a device. Fails:
  // kPageLost (what comes back is not what was put in), kIo, kTierAway (not now).
  virtual Status Load(PageIndex page, std::byte* into) = 0;

  // The same, and on success the copy here is gone.
  virtual Status Take(PageIndex page, std::byte* into) = 0;

  // Loads a page if that needs microseconds and waits for nothing; kUnsupported: it would not.
  virtual Status LoadInPlace(PageIndex page, std::byte* into) = 0;

  // Takes a page if that needs microseconds and waits for nothing; kUnsupported: it would not.
  // Thread: any, fabric threads in a turn among them.
  virtual Status TakeInPlace(PageIndex page, std::byte* into) = 0;

  // Begins what Take does where a peer has to be asked, and says later, on any thread, how it
  // ended; nothing is stored at `into` after that. False: Take does it. `done` must not wait.
  virtual bool StartTake(PageIndex page, std::byte* into, std::function<void(Status)> done) = 0;

  // Pages whose only copy is where nobody can get it now.
  [[nodiscard]] virtual uint64_t unreachable_pages() const = 0;

  // Pages of tables that it takes beside the tiers.
  [[nodiscard]] virtual uint64_t table_pages() const = 0;

  // True: Store, Load and Take may wait for a peer.
  [[nodiscard]] virtual bool asks_peers() const = 0;

  // Nobody needs the copy any more. May wait for a device.
  virtual void Forget(PageIndex page) = 0;
};

}  // namespace farpage
