#include "os/drop_pages.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace farpage {
namespace {

#ifndef __NR_process_madvise
#define __NR_process_madvise 440
#endif

// The kernel's bound on one call (UIO_MAXIOV).
constexpr size_t kRangesMax = 1024;
// PIDFD_SELF_THREAD_GROUP of linux/pidfd.h: this process, without opening a descriptor.
constexpr int kOurselves = -10001;

std::atomic<bool> have_batches{true};

}  // namespace

void DropPages(std::span<iovec> ranges) {
  while (!ranges.empty()) {
    const auto batch = ranges.first(std::min(ranges.size(), kRangesMax));
    ranges = ranges.subspan(batch.size());
    uint64_t bytes = 0;
    for (const iovec& range : batch) bytes += range.iov_len;
    if (have_batches.load(std::memory_order_relaxed)) {
      const long done = ::syscall(__NR_process_madvise, kOurselves, batch.data(), batch.size(),
                                  MADV_DONTNEED, 0);
      if (done >= 0 && static_cast<uint64_t>(done) == bytes) continue;
      if (done < 0) have_batches.store(false, std::memory_order_relaxed);
    }
    for (const iovec& range : batch) ::madvise(range.iov_base, range.iov_len, MADV_DONTNEED);
  }
}

}  // namespace farpage
