// A local regular file, or a part of one, as a store.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "os/fd.h"
#include "os/page_cache.h"
#include "memory/page_store.h"
#include "stores/direct_writer.h"

namespace farpage {

// How long a range that is locked is asked for.
inline constexpr uint64_t kLockWaitNs = 200'000'000;

// Pages of the region are pages of the file from `offset_bytes` on; the last one may be partial
// and is handled to the byte. Thread: any; calls on disjoint pages may run concurrently.
class FileStore final : public PageStore {
 public:
  struct Options {
    std::string path;
    uint64_t offset_bytes = 0;   // a multiple of the page size
    uint64_t length_bytes = 0;   // 0: to the end of the file
    bool writable = false;
    PageOrigin origin = PageOrigin::kFile;  // whose file it is
    bool known = false;  // it had this range before: that it has not now is kFileChanged
  };

  // Opens and, when writable, locks the range against other processes and regions (open file
  // description locks, fcntl(2)); waits 0.2 s for one that is held, as a process that was killed
  // does until its last writes are over. Fails: kFileNotFound, kFileAccess, kFileKind (not a
  // regular file), kFileEmpty, kAlignment, kRange (beyond the end), kFileChanged, kFileLocked.
  static Result<std::unique_ptr<FileStore>> Open(const Options& options);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] uint64_t offset_bytes() const { return offset_bytes_; }
  [[nodiscard]] uint64_t length_bytes() const { return length_bytes_; }
  [[nodiscard]] bool writable() const { return writable_; }

  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override { return {origin_, run.count}; }
  [[nodiscard]] uint64_t CachedPages(PageRun run) const override;
  // As one request, and nothing around it (posix_fadvise WILLNEED).
  void WillRead(PageRun run) override;
  // By preadv2(RWF_NOWAIT) of the last page, which arrives with the others or behind them.
  [[nodiscard]] bool IsRead(PageRun run) const override;
  [[nodiscard]] bool polls_reads() const override { return tells_reads_; }
  [[nodiscard]] StoreIdentity Identity() const override;
  [[nodiscard]] SinkFile Sink() const override { return {path_, offset_bytes_}; }
  [[nodiscard]] bool has_sink() const override { return writable_; }
  Status Read(PageRun run, std::byte* into) override;
  // The page cache lets go of the pages: while they are dirty, it only holds what they were.
  // Nothing while a Write is under way, which does the same for its own pages.
  void WillWrite(PageRun run) override;
  // Many images go around the page cache where it does not hold their pages (DirectWriter), so
  // that it need not afterwards either. Each image's kFileChanged: the file was cut, deleted or
  // replaced (a look at its name costs 1 us a call).
  Status Write(std::span<PageImage> images) override;
  // Runs of kDirectRunPagesMin and more go around the page cache in the same way, into holes too.
  [[nodiscard]] std::unique_ptr<PageWrites> StartWrites() override;
  // Fails: kFileChanged (it was deleted or replaced: what is durable is not under this name), kIo.
  Status MakeDurable() override;

  // Pages that went around the page cache so far.
  [[nodiscard]] uint64_t direct_pages() const {
    return direct_pages_.load(std::memory_order_relaxed);
  }

 private:
  FileStore(Fd fd, std::unique_ptr<DirectFile> direct, const Options& options,
            uint64_t length_bytes, bool named)
      : fd_(std::move(fd)),
        path_(options.path),
        offset_bytes_(options.offset_bytes),
        length_bytes_(length_bytes),
        writable_(options.writable),
        origin_(options.origin),
        named_(named),
        tells_reads_(TellsReads(fd_.get())),
        direct_(std::move(direct)) {}
  // Hands a writer images that nobody else writes; none: there are no more.
  using NextImages = std::function<std::span<PageImage* const>()>;
  class Writes;
  // False: the image must go through the page cache, where its outcome is found.
  bool BeginAroundCache(DirectWriter& writer, PageImage* image) const;
  std::vector<PageImage*> WriteAroundCache(const NextImages& next);
  void WriteThroughCache(std::span<PageImage* const> images) const;
  Status WriteImage(const PageImage& image) const;
  // Bytes of the region that the file still has: less than length_bytes() after a truncation.
  // Fails: kFileChanged (it was deleted).
  [[nodiscard]] Result<uint64_t> WritableBytes() const;
  // Nobody will ever read what is written to a file that was deleted, nor find it under the name of
  // a file that was replaced. Fails: kFileChanged.
  [[nodiscard]] Status StillNamed() const;

  Fd fd_;
  std::string path_;
  uint64_t offset_bytes_;
  uint64_t length_bytes_;
  bool writable_;
  PageOrigin origin_;
  bool named_;  // the path led to it when it was opened: one may be without a name on purpose
  bool tells_reads_;  // else its reads are waited for by threads that may
  std::unique_ptr<DirectFile> direct_;  // of a writable file, where there is such a thing
  std::atomic<uint32_t> writes_under_way_{0};
  std::atomic<uint64_t> direct_pages_{0};
};

}  // namespace farpage
