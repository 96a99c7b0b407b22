// Mapped region memory: a private mapping of the backing file itself.
#pragma once

#include <atomic>
#include <memory>

#include "memory/region_memory.h"
#include "os/mapping.h"
#include "os/page_cache.h"

namespace farpage {

// Clean pages are the page cache: no copy, no second cache. A page written here is a private
// copy until the pager has written it to the file and DropPrivateCopies has let go of it; so the
// file changes only by write-back, page by page (a shared mapping would write whole folios).
// A read-only file is mapped shared.
class MappedMemory final : public RegionMemory {
 public:
  // Maps `length_bytes` of `fd` from `offset_bytes` (a multiple of the page size) on. The
  // descriptor stays the caller's and must outlive this. Fails: kMemoryFull, kIo.
  static Result<std::unique_ptr<MappedMemory>> Create(int fd, uint64_t offset_bytes,
                                                      uint64_t length_bytes, bool writable);

  [[nodiscard]] std::byte* address() const override {
    return address_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool can_unmap() const override { return true; }
  void Unmap() override;
  Status Map() override;
  [[nodiscard]] uint64_t PopulatesInPlace(PageRun run) const override;
  void StartRead(PageRun run) override;
  [[nodiscard]] bool IsRead(PageRun run) const override;
  [[nodiscard]] bool polls_reads() const override { return tells_reads_; }
  Status Populate(PageRun run) override;
  Status MakeRoom(PageRun run) override;
  // Makes the private copies, and maps no page of the file: one fault for two, and the kernel need
  // not unmap a whole folio when one of its pages is written back.
  Status PopulateToWrite(PageRun run) override;
  void Drop(std::span<const PageRun> runs) override;
  void DropPrivateCopies(std::span<const PageRun> runs) override;
  bool DropTables(std::span<const PageRun> windows) override;
  void DropWindow(PageRun window) override;
  [[nodiscard]] bool has_private_copies() const override { return writable_; }

 private:
  MappedMemory(int fd, uint64_t offset_bytes, uint64_t length_bytes, bool writable)
      : fd_(fd),
        offset_bytes_(offset_bytes),
        length_bytes_(length_bytes),
        writable_(writable),
        tells_reads_(TellsReads(fd)) {}
  Status Advise(PageRun run, int advice);
  static void Advise(std::byte* at, uint64_t length_bytes);
  [[nodiscard]] uint64_t CachedPages(PageRun run) const;
  [[nodiscard]] int protection() const;
  [[nodiscard]] int flags() const;
  void DropRanges(std::span<const PageRun> runs);

  int fd_;
  uint64_t offset_bytes_;
  uint64_t length_bytes_;
  Mapping mapping_;
  std::atomic<std::byte*> address_{nullptr};  // of the mapping, for threads that only look
  bool writable_;
  bool tells_reads_;  // else its reads are waited for by threads that may
  // The page whose read a look has begun, so that StartRead need not; that of another thread's look
  // in between is begun twice, which the kernel sees.
  static constexpr PageIndex kNoPage = ~PageIndex{0};
  mutable std::atomic<PageIndex> begun_{kNoPage};
};

}  // namespace farpage
