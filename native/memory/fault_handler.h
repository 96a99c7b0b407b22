// The one interface between front doors (who raise faults) and the pager (who answers them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/page.h"

namespace farpage {

class Region;
class Reservation;

// How long a door waits for a fill before it asks for another thread; longer than a device that
// is well takes.
inline constexpr uint64_t kNudgeNs = 2'000'000;

// Pages that one request faults in ahead of what it sends, and one stream reads ahead, at most: a
// part of the frames such that those of as many as there usually are at once are still here when
// they are sent. 0: there are so few that what nobody waits for yet would go before it was used.
inline constexpr uint64_t kWindowPart = 256;
inline constexpr uint64_t kLeastWindowPages = 4;
inline constexpr uint64_t WindowPages(uint64_t frames) {
  const uint64_t pages = frames / kWindowPart;
  return pages < kLeastWindowPages ? 0 : pages;
}

enum class FaultKind : uint8_t { kRead, kWrite };

// What a waiter is told: the page whose state has changed, or the reservation that can be reached
// now, and kOk or why they did not come.
struct FaultWake {
  uint64_t token = 0;
  std::shared_ptr<Region> region;  // null: it is about a reservation
  PageIndex page = 0;
  Code code = Code::kOk;
  std::shared_ptr<Reservation> reservation = nullptr;
};

// Somebody with a thread of its own that waits for pages. Wake() is called on pager threads or,
// for pages of other waiters, on any; it must not block. A wake may be spurious: look again.
class FaultWaiter {
 public:
  virtual void Wake(const FaultWake& wake) = 0;

 protected:
  ~FaultWaiter() = default;
};

// One reader's stream, sequential or strided, kept by the front door, changed only inside the calls
// below.
struct ReadAheadStream {
  const Region* region = nullptr;
  PageIndex expected = 0;      // the page whose fault would continue the stream
  PageIndex filled_to = 0;     // end of what has been asked for
  uint32_t window_pages = 0;   // 0: no stream yet
  bool writes = false;         // the last fault was to write
  // Accesses the same distance apart, forwards or backwards.
  int64_t last = -1;           // page where the last one began, below 0: none
  int64_t stride = 0;          // pages from the one before to it
  uint32_t steps = 0;          // how many are asked for at once; 0: no stride was recognised
  uint32_t run_pages = 0;      // of each
  int64_t strided_to = 0;      // the first one that has not been asked for

  void EndStride() {
    last = -1;
    stride = steps = 0;
  }
};

// How far a run can be used, and what stands behind the pages that can.
struct FaultOutcome {
  enum class Next : uint8_t {
    kReady,    // the whole run
    kAgain,    // more may be ready at once: come back in the next turn
    kPending,  // wait for the wake
    kFailed,   // the page behind the ready ones failed with `code`
  };
  uint64_t ready_pages = 0;
  Next next = Next::kReady;
  Code code = Code::kOk;
};

// Reads that a polling door waits for itself. One owner thread, which calls everything.
class FillQueue {
 public:
  virtual ~FillQueue() = default;
  // Installs the pages of one read that is done and wakes their waiters; gives slow reads to pager
  // threads. False: none of those it looked at was done. Not in a turn.
  virtual bool Look(uint64_t now_ns) = 0;
  // Gives all of them to pager threads: the door goes to sleep, or away.
  virtual void HandOverAll() = 0;
  [[nodiscard]] virtual size_t outstanding() const = 0;
};

class FaultHandler {
 public:
  virtual ~FaultHandler() = default;

  // For a door that polls; doors that sleep do without, and pager threads wait for their reads.
  virtual std::unique_ptr<FillQueue> OpenFillQueue() = 0;

  // Makes pages of `run` usable: for kRead readable, for kWrite also writable (not yet dirty).
  // Called inside a turn by the thread that met the fault; does what costs less than a hand-over
  // (fill values, page-cache hits, write permission) in place, at most kInPlacePagesMax pages,
  // starts the reads of the rest and hands the waiting for them to pager threads. When not even
  // the first page is ready, `waiter` is woken with `token` as it changes; null only starts the
  // fills. `fills`, if any, is the calling thread's. Never blocks, never evicts.
  virtual FaultOutcome Fault(const std::shared_ptr<Region>& region, PageRun run, FaultKind kind,
                             FaultWaiter* waiter, uint64_t token, ReadAheadStream* stream,
                             FillQueue* fills = nullptr) = 0;

  // For a READ of a part of one page: the page of an absent one of a fill value, so that the answer
  // can go before the page is initialised. What it points to is constant. The page is claimed:
  // nobody else reads or writes it until the door has called Settle, in the same turn.
  // Null: nothing was done, Fault it. In a turn; never blocks.
  virtual const std::byte* Lend(const std::shared_ptr<Region>& region, PageIndex page) = 0;

  // Initialises a page that was lent, where there are free frames, or leaves it absent; wakes who
  // waits for it. In the same turn.
  virtual void Settle(const std::shared_ptr<Region>& region, PageIndex page) = 0;

  // The first use of a page marked kAhead: asks for the next window of the stream.
  virtual void Advance(const std::shared_ptr<Region>& region, PageIndex page,
                       ReadAheadStream* stream) = 0;

  // The door met bytes of `run` that cannot be read (a file truncated underneath, an I/O error):
  // pages that really cannot are LOST from now on. In a turn.
  virtual void Lose(const std::shared_ptr<Region>& region, PageRun run) = 0;

  // Whether a WRITE of the whole page spares reading it from where it is: it is absent, and comes
  // from a store, a peer or a tier. The answer may be old at once. In a turn; never blocks.
  [[nodiscard]] virtual bool TakesWhole(const Region& region, PageIndex page) const = 0;

  // Gives a page that is absent or whose newest bytes were lost all the bytes that it has from now
  // on, whatever becomes of where it came from; `bytes` are those of the page within the region,
  // and are copied. kReady: it is writable, and has them but for a page out of a tier; kAgain: it
  // is neither (any more), or too much is asked at the moment; kPending: `waiter` is woken with
  // `token`, with a failure if it stays as it was; kFailed. In a turn; never blocks.
  virtual FaultOutcome Overwrite(const std::shared_ptr<Region>& region, PageIndex page,
                                 std::span<const std::byte> bytes, FaultWaiter* waiter,
                                 uint64_t token) = 0;

  // The STags of a reservation lead nowhere yet: asks for its region to be allocated. kAgain: look
  // the STag up again; kPending: `waiter` is woken with `token` and the reservation; kFailed. Null
  // only asks. In a turn; never blocks.
  virtual FaultOutcome Reach(const std::shared_ptr<Reservation>& reservation,
                             FaultWaiter* waiter, uint64_t token) = 0;

  // Called by a door that has waited kNudgeNs for a fill: whoever reads for somebody else may be
  // slow, so another thread joins.
  virtual void Nudge() = 0;

  // Forgets a waiter that goes away; no Wake comes after this returns.
  virtual void Forget(FaultWaiter* waiter) = 0;
};

}  // namespace farpage
