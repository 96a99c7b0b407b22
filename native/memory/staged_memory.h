// Staged region memory: a memfd, or a file of the memory directory, mapped shared. Its pages are
// filled by a store.
#pragma once

#include <atomic>
#include <memory>

#include "memory/region_memory.h"
#include "os/fd.h"
#include "os/mapping.h"

namespace farpage {

// Absent pages are holes of the descriptor. Memory that is no file's own: plain external memory
// (the store is a fill value), or in front of a store that cannot be mapped.
class StagedMemory final : public RegionMemory {
 public:
  // Of a memfd. `store` fills the pages and must outlive this. Fails: kMemoryFull, kIo.
  static Result<std::unique_ptr<StagedMemory>> Create(uint64_t length_bytes, PageStore* store);
  // Of a file that may have pages already; it is made as long as the region. Where the file system
  // has no room for another page, that is kNoSpace. Fails: kIo.
  static Result<std::unique_ptr<StagedMemory>> Over(Fd file, uint64_t length_bytes,
                                                    PageStore* store);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::byte* address() const override {
    return address_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool can_unmap() const override { return true; }
  void Unmap() override;
  Status Map() override;
  Status ReadUnmapped(PageRun run, std::byte* into) const override;
  [[nodiscard]] uint64_t PopulatesInPlace(PageRun run) const override;
  void StartRead(PageRun run) override { store_->WillRead(run); }
  [[nodiscard]] bool IsRead(PageRun run) const override { return store_->IsRead(run); }
  [[nodiscard]] bool polls_reads() const override { return store_->polls_reads(); }
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override { return store_->OriginOf(run); }
  Status Populate(PageRun run) override;
  Status MakeRoom(PageRun run) override { return Commit(run); }
  void StartPopulate(PageRun run, ReadDone done) override;
  Status PopulateFrom(PageRun run, const std::byte* bytes) override;
  void Drop(std::span<const PageRun> runs) override;
  [[nodiscard]] bool drops_by_runs() const override { return true; }
  void DropPrivateCopies(std::span<const PageRun>) override {}
  bool DropTables(std::span<const PageRun> windows) override;
  void DropWindow(PageRun) override {}
  [[nodiscard]] bool has_private_copies() const override { return false; }

 private:
  StagedMemory(Fd fd, uint64_t length_bytes, PageStore* store, Code full)
      : fd_(std::move(fd)), length_bytes_(length_bytes), store_(store), full_(full) {}
  static Result<std::unique_ptr<StagedMemory>> Make(Fd file, uint64_t length_bytes,
                                                    PageStore* store, Code full);
  Status Commit(PageRun run);
  static void Advise(std::byte* at, uint64_t length_bytes);

  Fd fd_;
  const uint64_t length_bytes_;  // whole pages
  Mapping mapping_;
  std::atomic<std::byte*> address_{nullptr};  // of the mapping, for threads that only look
  PageStore* store_;
  const Code full_;  // that there is no room for another page
};

}  // namespace farpage
