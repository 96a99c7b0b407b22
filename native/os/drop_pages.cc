#include "os/drop_pages.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "os/mapping.h"
#include "os/process_memory.h"

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

// Windows that the kernel is tried with.
constexpr uint64_t kTriedWindows = 64;

std::atomic<bool> pretend_tables_stay{false};

// Reads one page in each of some windows, gives them up and looks whether their tables went, too;
// other threads' tables come and go meanwhile, but not as many.
bool TriedToFreeTables() {
  auto mapping = Mapping::Anonymous((kTriedWindows + 1) * kWindowBytes);
  if (!mapping.ok()) return false;
  const auto start = reinterpret_cast<uintptr_t>(mapping.value().data());
  const uintptr_t aligned = (start + kWindowBytes - 1) & ~(kWindowBytes - 1);
  auto* const base = reinterpret_cast<std::byte*>(aligned);
  for (uint64_t n = 0; n < kTriedWindows; n++) {
    (void)*static_cast<volatile std::byte*>(base + n * kWindowBytes);
  }
  const uint64_t before = ProcessMemory::Now().table_bytes;
  ::madvise(base, kTriedWindows * kWindowBytes, MADV_DONTNEED);
  return ProcessMemory::Now().table_bytes + kTriedWindows * kPageBytes / 2 < before;
}

}  // namespace

bool FreeTables(std::byte* base, std::span<const PageRun> windows) {
  static const bool freed = TriedToFreeTables();
  if (!freed || pretend_tables_stay.load(std::memory_order_relaxed)) return false;
  std::vector<iovec> ranges;
  ranges.reserve(windows.size());
  for (const PageRun& run : windows) {
    ranges.push_back({base + run.offset_bytes(), run.length_bytes()});
  }
  DropPages(ranges);
  return true;
}

void PretendTablesStay(bool stay) { pretend_tables_stay.store(stay, std::memory_order_relaxed); }

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
