// Region memory: one contiguous, lazily committed range of addresses that maps some descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/page.h"
#include "base/result.h"
#include "memory/page_store.h"
#include "memory/region_copy.h"

namespace farpage {

// What the pager needs of a kind of memory (mapped, anonymous, and those to come). Bytes move
// between memory and stores only through populate, write back and drop of page runs that the
// caller has claimed in the page table.
class RegionMemory {
 public:
  virtual ~RegionMemory() = default;

  // Address of byte 0, a multiple of kWindowBytes; null while it is unmapped. It changes by Unmap
  // and Map alone: who uses it is in a turn that reached the region, or has a RegionUse.
  [[nodiscard]] virtual std::byte* address() const = 0;

  // Whether Unmap and Map do something.
  [[nodiscard]] virtual bool can_unmap() const { return false; }
  // Gives the range of addresses back; the pages stay where they are: in the descriptor. Requires:
  // nobody uses the range or drops pages, and nothing is dirty where pages have private copies.
  virtual void Unmap() {}
  // Takes a range again, perhaps another one. Fails: kAddressSpace, kIo.
  virtual Status Map() { return {}; }
  // Copies the bytes of a run of present pages without a range. Fails: kUnsupported, kIo.
  virtual Status ReadUnmapped(PageRun, std::byte*) const {
    return Error{Code::kUnsupported, 0, "read without a mapping"};
  }

  // How many pages at the start of `run` can be populated now without waiting for a device.
  // Cheap (0.2 us); an answer may be outdated at once, which costs time but is never wrong.
  // Thread: any.
  [[nodiscard]] virtual uint64_t PopulatesInPlace(PageRun run) const = 0;

  // Starts to bring the bytes of `run` nearer, so that Populate waits less; some microseconds,
  // never a wait. A hint. Thread: any.
  virtual void StartRead(PageRun run) = 0;

  // True: what StartRead began is done, Populate would not wait for a device. About 1 us; a wrong
  // answer costs time only. Thread: any.
  [[nodiscard]] virtual bool IsRead(PageRun run) const = 0;

  // Makes the bytes of `run` readable at address() + offset. May block unless
  // PopulatesInPlace said otherwise. Requires: the caller claimed every page of `run`.
  // Fails: kIo, kFileChanged (the file ends before the run), kMemoryFull.
  virtual Status Populate(PageRun run) = 0;

  // The same for pages that will be written at once: bytes that would be copied then may be copied
  // now, by the same fault.
  virtual Status PopulateToWrite(PageRun run) { return Populate(run); }

  // Where the first page of `run` would be filled from, and how many from it on are of that
  // origin. Pages of the origin kRemote are populated by StartPopulate, others by Populate.
  [[nodiscard]] virtual PagesFrom OriginOf(PageRun run) const {
    return {PageOrigin::kFile, run.count};
  }

  // Populates pages that come from a peer or a program: starts, and returns at once. `done` is
  // called once, on any thread, possibly before this returns. Requires: the caller claimed every
  // page of `run` and keeps it claimed until `done`. Thread: any.
  virtual void StartPopulate(PageRun run, ReadDone done) { done(Populate(run)); }

  // Populates claimed pages with bytes that were read elsewhere. Fails: kMemoryFull, kIo.
  virtual Status PopulateFrom(PageRun run, const std::byte* bytes) {
    if (Status room = MakeRoom(run); !room.ok()) return room;
    if (CopyToRegion(address() + run.offset_bytes(), bytes, run.length_bytes())) return {};
    return Error{Code::kMemoryFull, 0, "copy to region memory"};
  }

  // True: IsRead tells when what StartRead began is done, so a door that polls may wait by it.
  [[nodiscard]] virtual bool polls_reads() const { return true; }

  // Makes claimed pages writable at their address, where running out, or a file that ends before
  // them, is an error and not a signal (MADV_POPULATE_WRITE). Their bytes are about to be replaced
  // as a whole. May wait for a device where has_private_copies(). Fails: kMemoryFull, kIo.
  virtual Status MakeRoom(PageRun run) = 0;

  // Gives the memory of claimed pages back to the system. Requires: a grace period has passed
  // since the fabric lost them. Thread: pager.
  virtual void Drop(std::span<const PageRun> runs) = 0;

  // True: Drop takes about as long for one long run as for a short one, and may be given one with
  // pages in between that have no memory.
  [[nodiscard]] virtual bool drops_by_runs() const { return false; }

  // Gives back what a write-back has made redundant: private copies of pages whose bytes the
  // page cache now has. Requires: no writer can reach the pages. Readers see the same bytes
  // before and after. Thread: pager.
  virtual void DropPrivateCopies(std::span<const PageRun> runs) = 0;

  // Frees the kernel's tables of whole windows of kWindowBytes that have no page, and get none
  // before this returns. False: they could not be freed. Thread: pager.
  virtual bool DropTables(std::span<const PageRun>) { return false; }

  // Tells caches kept in windows of kWindowBytes that no page of the window is present any more.
  virtual void DropWindow(PageRun window) = 0;

  // True: DropPrivateCopies does something.
  [[nodiscard]] virtual bool has_private_copies() const = 0;
};

}  // namespace farpage
