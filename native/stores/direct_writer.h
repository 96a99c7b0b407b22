// Writing pages of a file around the page cache.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "memory/page_store.h"
#include "os/fd.h"
#include "os/io_ring.h"

namespace farpage {

// Writes that one thread has under way, at most.
inline constexpr uint32_t kDirectWritesMax = 64;
// The same of long runs while cores are short (os/short_cores.h): begun together and waited for
// together, so that their thread keeps its core for some 25 us at a time. Single pages are written
// one by one then, by pwritev2(2), each in 15 us of two pieces (`bench --only beside-sync`): the
// end of a write that a ring has begun is the work of a thread of the kernel, for four of them
// together 40 us, and that of a waiting one its own.
inline constexpr uint32_t kDirectWritesShort = 4;
// Shorter runs are left to the page cache where holes are allocated: to hand each of them to a
// thread of the kernel takes longer than to copy it.
inline constexpr uint64_t kDirectRunPagesMin = 32;
// Folios in a row that could not be split, before splits are not tried any more.
inline constexpr uint32_t kHopelessSplitsMax = 16;

// A file that pages are written to around the page cache. Thread: any.
class DirectFile {
 public:
  // Opens the file of `cached_fd`, which must outlive this and whose region begins at
  // `offset_bytes`, once more, with O_DIRECT.
  DirectFile(int cached_fd, uint64_t offset_bytes);

  // False: the file system or the system offers no such thing.
  [[nodiscard]] bool valid() const { return direct_fd_.valid(); }
  [[nodiscard]] int fd() const { return direct_fd_.get(); }
  [[nodiscard]] uint64_t OffsetOf(PageRun run) const { return offset_bytes_ + run.offset_bytes(); }

  // Makes the page cache let go of the pages, and splits large folios for that. True: it holds
  // none of them now.
  bool Uncache(PageRun run);
  // Splits are tried again.
  void Hope() { hopeless_splits_.store(0, std::memory_order_relaxed); }

 private:
  int cached_fd_;
  Fd direct_fd_;
  uint64_t offset_bytes_;
  std::atomic<uint32_t> hopeless_splits_{0};
};

// What becomes of pages that the file has no blocks for yet.
enum class Holes : uint8_t {
  kRefuse,    // single pages: a buffered write lets the file system allocate many at once
  kAllocate,  // runs: each is handed to the kernel as it is begun, which has a thread wait for it
};

// O_DIRECT copies nothing and keeps the device busy from one thread, but it throws whole folios
// out of the page cache, and readers of the neighbours then wait for the device. So this writes
// only pages that the page cache does not hold: clean copies of the very pages are dropped first,
// large folios around them split, and RWF_NOWAIT makes the kernel refuse what it still finds there,
// and holes, unless they are to be allocated. Afterwards the bytes are on the
// device and in the caller's memory only. One thread at a time.
class DirectWriter {
 public:
  // Fails as IoRing::Create.
  static Result<std::unique_ptr<DirectWriter>> Create(DirectFile& file,
                                                      Holes holes = Holes::kRefuse);
  // Waits for every write that was begun: none may land behind a later one of the same page.
  ~DirectWriter();
  DirectWriter(const DirectWriter&) = delete;
  DirectWriter& operator=(const DirectWriter&) = delete;

  // Begins to write an image, which stays valid until Finish. False: it must go through the page
  // cache. Waits while kDirectWritesMax are under way, and while cores are short for the write.
  bool Begin(PageImage* image);

  // Waits for what was begun. Returns the images whose write did not do, for whatever reason: the
  // buffered write of the same image tells.
  std::vector<PageImage*> Finish();

  // Writes that have been under way at once, at most.
  [[nodiscard]] uint32_t peak() const { return peak_; }

 private:
  DirectWriter(DirectFile& file, Holes holes, std::unique_ptr<IoRing> ring)
      : file_(file), holes_(holes), ring_(std::move(ring)) {}
  bool Enter(uint32_t wait_for);
  bool MakeRoom();
  bool WriteNow(PageImage* image);
  void WaitForAll();

  DirectFile& file_;
  const Holes holes_;
  std::unique_ptr<IoRing> ring_;
  std::vector<PageImage*> begun_;  // null: written
  uint32_t under_way_ = 0;         // with the kernel, not yet reaped
  uint32_t peak_ = 0;
  // As of the last look: under way or queued, at most; one page after the other.
  uint32_t most_ = kDirectWritesShort;
  bool singly_ = true;
};

}  // namespace farpage
