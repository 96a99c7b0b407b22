// The appliance's own sparse file of a region that it keeps, over whatever the rest comes from.
#pragma once

#include <memory>
#include <string>

#include "stores/file_store.h"

namespace farpage {

// How many pages at the start of `run` are alike in such a file: in it (`kept`) or not. SEEK_DATA
// and SEEK_HOLE, 1 us each. Thread: any.
PagesFrom KeptAt(int fd, PageRun run, bool* kept);

// A page that is data in the file was written back once; a hole never was, and comes from the
// base: a fill value, another appliance, a server. So the file's holes are the written map
// (SEEK_DATA, lseek(2)), ordered with the data by the file system, and a restart needs no other.
// Thread: as PageStore says.
class KeptStore final : public PageStore {
 public:
  // Opens the file at `path`, making it when `make` says so, as long as the region. `base` may be
  // null: then holes are lost pages (Read fails with kPageLost). Fails: kFileNotFound,
  // kFileAccess, kFileLocked, kFileChanged (another length), kUnsupported (the file system does
  // not tell holes of a page), kNoSpace, kIo.
  static Result<std::unique_ptr<KeptStore>> Open(const std::string& path, uint64_t length_bytes,
                                                 bool make, std::unique_ptr<PageStore> base);

  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override;
  [[nodiscard]] uint8_t fill_byte() const override { return below() ? base_->fill_byte() : 0; }
  [[nodiscard]] uint64_t CachedPages(PageRun run) const override;
  void WillRead(PageRun run) override;
  void WillWrite(PageRun run) override;
  [[nodiscard]] bool IsRead(PageRun run) const override { return file_->IsRead(run); }
  [[nodiscard]] bool polls_reads() const override { return file_->polls_reads(); }
  [[nodiscard]] StoreIdentity Identity() const override { return file_->Identity(); }
  [[nodiscard]] SinkFile Sink() const override { return file_->Sink(); }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override;
  void StartBackgroundRead(PageRun run, std::byte* into, ReadDone done) override;
  [[nodiscard]] bool keeps_what_it_pulls() const override;
  void EndReads() override;
  Status Read(PageRun run, std::byte* into) override;
  Status Write(std::span<PageImage> images) override { return file_->Write(images); }
  [[nodiscard]] std::unique_ptr<PageWrites> StartWrites() override { return file_->StartWrites(); }
  Status MakeDurable() override { return file_->MakeDurable(); }

  // Pages that the file has, of `run`.
  [[nodiscard]] uint64_t KeptPages(PageRun run) const;
  // Ends the base's reads; the object stays until the store ends, for others may be looking at it.
  void DetachSource() override;

 private:
  KeptStore(std::unique_ptr<FileStore> file, std::unique_ptr<PageStore> base)
      : file_(std::move(file)), base_(std::move(base)) {}
  [[nodiscard]] PagesFrom KeptAt(PageRun run, bool* kept) const {
    return farpage::KeptAt(file_->fd(), run, kept);
  }
  // The base, unless it is none or detached.
  [[nodiscard]] PageStore* below() const {
    return detached_.load(std::memory_order_acquire) ? nullptr : base_.get();
  }

  std::unique_ptr<FileStore> file_;
  std::unique_ptr<PageStore> base_;
  std::atomic<bool> detached_{false};
};

}  // namespace farpage
