// Where pages come from (source) and go to (sink). The pager knows this and nothing else about
// files, networks or fill values.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/page.h"
#include "base/result.h"

namespace farpage {

// Bytes of one run of pages on their way to a store. `length_bytes` is less than the run's only
// for the last page of a region whose size is no multiple of the page size.
struct PageImage {
  PageRun run;
  const std::byte* bytes = nullptr;
  uint64_t length_bytes = 0;
  Status outcome;             // set by Write
  bool around_cache = false;  // set by Write: the page cache has not got these bytes by it
};

// Where the bytes of a page come from when it is filled.
enum class PageOrigin : uint8_t {
  kFill,       // a fill value: nothing was ever written
  kFile,       // a file of the user's
  kKept,       // the appliance's own file of a region that it keeps
  kRemote,  // another appliance, a server, a program
};

// Pages at the start of a run that come from the same place.
struct PagesFrom {
  PageOrigin origin = PageOrigin::kFill;
  uint64_t pages = 0;
};

// Which file a store is, and as which it was last seen: fstat(2). All zero: it is no file.
struct StoreIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  uint64_t changed_ns = 0;  // of its bytes, since 1970 (st_mtim)
};

// The file that a store writes to, by name, and where in it page 0 is. No path: it is no file.
struct SinkFile {
  std::string path;
  uint64_t offset_bytes = 0;
};

// What became of a read that was started; called once, on any thread, and must not block.
using ReadDone = std::function<void(Status)>;

// Writes of images that go on while their thread does something else. One thread at a time.
class PageWrites {
 public:
  // Waits for all that was begun.
  virtual ~PageWrites() = default;
  // Begins to write an image, which stays valid until End and is not looked at before.
  virtual void Begin(PageImage* image) = 0;
  // Waits for all that was begun; each image has its outcome. Not yet durable.
  virtual void End() = 0;
};

// Stores are peers: zero, one, file, kept, remote, callback. All calls may block unless they say
// otherwise, come from pager threads, and may run concurrently on disjoint pages.
class PageStore {
 public:
  virtual ~PageStore() = default;

  // Where the first page of `run` (not empty) would be filled from now, and how many pages from
  // it on are of the same origin. Never waits for a device or a peer; 1 us. Thread: any.
  [[nodiscard]] virtual PagesFrom OriginOf(PageRun run) const = 0;

  // What pages of the origin kFill are filled with; nobody reads the store for them.
  [[nodiscard]] virtual uint8_t fill_byte() const { return 0; }

  // How many pages at the start of `run`, all of the origin kFile or kKept, Read would copy from
  // the page cache. May be outdated at once, which costs time but is never wrong. Thread: any.
  [[nodiscard]] virtual uint64_t CachedPages(PageRun run) const {
    (void)run;
    return 0;
  }
  // Asks the device to begin, so that Read waits less. A hint; never waits. Thread: any.
  virtual void WillRead(PageRun run) { (void)run; }
  // True: what WillRead began is done. Only where polls_reads(). Thread: any.
  [[nodiscard]] virtual bool IsRead(PageRun run) const {
    (void)run;
    return false;
  }
  [[nodiscard]] virtual bool polls_reads() const { return false; }

  // Reads pages of the origin kRemote: starts, and returns at once. `done` is called when they
  // are at `into` or cannot come, possibly before this returns; `into` stays valid until then. The
  // store has a deadline of its own: every read ends. No thread of the pager waits for a peer or
  // a program. Thread: any, fabric threads in a turn among them, so it takes microseconds.
  virtual void StartRead(PageRun run, std::byte* into, ReadDone done) { done(Read(run, into)); }

  // The same for bytes that nobody waits for yet: reads that somebody waits for go before it.
  virtual void StartBackgroundRead(PageRun run, std::byte* into, ReadDone done) {
    StartRead(run, into, std::move(done));
  }

  // True: there are pages of the origin kRemote, and what was written back is read from here
  // instead: a page once pulled needs its source no longer.
  [[nodiscard]] virtual bool keeps_what_it_pulls() const { return false; }

  // The source elsewhere is needed no longer, because every page was pulled: nobody asks it from
  // now on. Thread: any but fabric threads.
  virtual void DetachSource() {}

  // Ends the reads that were started with kRegionRemoved, soon: the region goes. No read comes
  // after it. Thread: any but fabric threads.
  virtual void EndReads() {}

  // Pages that were really read from a device or a peer; fill values are not.
  [[nodiscard]] uint64_t pages_read() const { return pages_read_.load(std::memory_order_relaxed); }

  // Which file it is now. Thread: any.
  [[nodiscard]] virtual StoreIdentity Identity() const { return {}; }

  // The file that Write changes; its identity is Identity()'s. Thread: any.
  [[nodiscard]] virtual SinkFile Sink() const { return {}; }

  // False: there is nothing to write back to; dirty pages stay in memory.
  [[nodiscard]] virtual bool has_sink() const { return true; }

  // Puts the pages of `run`, none of them of the origin kRemote, at `into`. Fails: kIo,
  // kFileChanged (the store has shrunk).
  virtual Status Read(PageRun run, std::byte* into) = 0;

  // True: Write and MakeDurable wait for a program or a peer, which a device does not bound.
  [[nodiscard]] virtual bool writes_elsewhere() const { return false; }

  // Pages that somebody writes to now and that a Write will bring later. A hint for what can be
  // made ready for it in the meantime; may block. Thread: pager.
  virtual void WillWrite(PageRun run) { (void)run; }

  // Writes images, sorted by page, each with its own outcome; exactly these bytes and no others.
  // Fails as a whole only if nothing was attempted. Not yet durable.
  virtual Status Write(std::span<PageImage> images) = 0;

  // Like Write, for pages that nobody else writes meanwhile. Where a store has nothing better each
  // Begin is a Write. The store must outlive it.
  [[nodiscard]] virtual std::unique_ptr<PageWrites> StartWrites();

  // Everything written before is on stable storage when this returns (fdatasync(2)).
  virtual Status MakeDurable() = 0;

 protected:
  void CountRead(PageRun run) { pages_read_.fetch_add(run.count, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> pages_read_{0};
};

}  // namespace farpage
