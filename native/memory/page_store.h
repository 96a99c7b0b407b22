// Where pages come from (source) and go to (sink). The pager knows this and nothing else about
// files, networks or fill values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/page.h"
#include "base/result.h"

namespace farpage {

// Bytes of one run of pages on their way to a store. `length_bytes` is less than the run's only
// for the last page of a region whose size is no multiple of the page size.
struct PageImage {
  PageRun run;
  const std::byte* bytes = nullptr;
  uint64_t length_bytes = 0;
  Status outcome;  // set by Write
};

// Stores are peers: zero, one, file, and those to come. All calls may block unless they say
// otherwise, come from pager threads, and may run concurrently on disjoint pages.
class PageStore {
 public:
  virtual ~PageStore() = default;

  // False: there is nothing to write back to; dirty pages stay in memory.
  [[nodiscard]] virtual bool has_sink() const { return true; }

  // Puts the pages of `run` at `into`. Fails: kIo, kFileChanged (the store has shrunk).
  virtual Status Read(PageRun run, std::byte* into) = 0;

  // Writes images, sorted by page, each with its own outcome; exactly these bytes and no others.
  // Fails as a whole only if nothing was attempted. Not yet durable.
  virtual Status Write(std::span<PageImage> images) = 0;

  // Everything written before is on stable storage when this returns (fdatasync(2)).
  virtual Status MakeDurable() = 0;
};

}  // namespace farpage
