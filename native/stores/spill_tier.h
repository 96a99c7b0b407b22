// A file that nobody else sees, as a tier.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "os/fd.h"
#include "memory/slot_map.h"
#include "memory/tier.h"

namespace farpage {

// Pages written by one system call, at most.
inline constexpr size_t kSpillBatchPages = 256;
// Room is given back to the file system when this part of the pages has gone.
inline constexpr uint64_t kSpillGivenPart = 8;

// Pages in slots of a file without a name (O_TMPFILE), so that whatever ends the process leaves
// nothing behind; around the page cache (O_DIRECT) where the file system can, because what was
// put here was cold. Its bytes are worth nothing after a restart and are never synced. It takes as
// much of its file system as four times the pages that it holds (kSlotReach), and the MiB of pages
// that lie further back.
// Thread: any.
class SpillTier final : public Tier {
 public:
  // Whether a tier could be opened in `directory`; nothing stays open.
  static bool CanOpen(const std::string& directory);
  // The same as Open, but the file is opened when the first page comes; a failure is that page's,
  // and the next one tries again. Fails: kArgument.
  static Result<std::unique_ptr<SpillTier>> Later(const std::string& directory,
                                                  uint64_t capacity_bytes);
  // In `directory`, for at most `capacity_bytes`; no room is reserved. Fails: kFileNotFound,
  // kFileAccess, kUnsupported (the file system has no unnamed files), kArgument (not a page), kIo.
  static Result<std::unique_ptr<SpillTier>> Open(const std::string& directory,
                                                 uint64_t capacity_bytes);

  void Put(std::span<TierPage> pages) override;
  Status Get(TierSlot slot, std::byte* into) override;
  void Free(TierSlot slot) override;
  [[nodiscard]] bool gets_in_place() const override { return false; }
  [[nodiscard]] const char* kind() const override { return "file"; }
  [[nodiscard]] uint64_t capacity_bytes() const override;
  [[nodiscard]] uint64_t used_bytes() const override;
  [[nodiscard]] const std::string& directory() const { return directory_; }

 private:
  SpillTier(std::string directory, uint64_t slots);
  // Opens the file unless it is.
  Status Prepare();
  [[nodiscard]] int file() const { return file_.load(std::memory_order_acquire); }
  // Up to `want` slots that follow one another; how many.
  uint64_t Take(uint64_t want, TierSlot* first);
  void Release(TierSlot first, uint64_t count);
  // Gives groups of slots back to the file system that will not be taken soon. Requires the lock.
  void GiveBack();
  Status WriteRun(std::span<const TierPage> pages);

  const std::string directory_;
  const uint64_t slots_;
  std::atomic<int> file_{-1};  // of fd_
  std::mutex mutex_;  // guards the rest
  Fd fd_;
  SlotMap taken_;
  std::vector<bool> written_;  // groups that the file may have blocks of
  uint64_t most_ = 0;          // slots that were taken since GiveBack
};

}  // namespace farpage
