#include "os/page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <limits>

#include "base/page.h"

namespace farpage {
namespace {

#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif

struct CachestatRange {
  uint64_t offset;
  uint64_t length;
};
struct Cachestat {
  uint64_t cached;
  uint64_t dirty;
  uint64_t writeback;
  uint64_t evicted;
  uint64_t recently_evicted;
};

std::atomic<bool> have_cachestat{true};

// As in <linux/magic.h>, of file systems that are memory.
constexpr uint64_t kTmpfs = 0x01021994;
constexpr uint64_t kRamfs = 0x858458f6;
constexpr uint64_t kHugetlbfs = 0x958458f6;

// Pages one mincore call asks about, at most.
constexpr uint64_t kMincorePagesMax = 64;

// False: cachestat(2) cannot tell.
bool HoldsNone(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
  CachestatRange range{offset_bytes, length_bytes};
  Cachestat found{};
  return ::syscall(__NR_cachestat, fd, &range, &found, 0) == 0 && found.cached == 0;
}

uint64_t CachedByMincore(uint64_t length_bytes, std::byte* mapped) {
  std::array<unsigned char, kMincorePagesMax> resident{};
  const uint64_t pages = std::min(length_bytes >> kPageShift, kMincorePagesMax);
  if (::mincore(mapped, pages << kPageShift, resident.data()) != 0) return 0;
  uint64_t count = 0;
  while (count < pages && (resident[count] & 1) != 0) count++;
  return count << kPageShift;
}

}  // namespace

uint64_t CachedBytes(int fd, uint64_t offset_bytes, uint64_t length_bytes, std::byte* mapped) {
  if (!have_cachestat.load(std::memory_order_relaxed)) {
    return CachedByMincore(length_bytes, mapped);
  }
  CachestatRange range{offset_bytes, length_bytes};
  Cachestat found{};
  if (::syscall(__NR_cachestat, fd, &range, &found, 0) != 0) {
    have_cachestat.store(false, std::memory_order_relaxed);
    return CachedByMincore(length_bytes, mapped);
  }
  if (found.cached << kPageShift >= length_bytes) return length_bytes;
  if (found.cached == 0 || length_bytes <= kPageBytes) return 0;
  // Some are there: only a prefix helps, and it is found by asking for the first page alone.
  range.length = kPageBytes;
  if (::syscall(__NR_cachestat, fd, &range, &found, 0) != 0) return 0;
  return found.cached != 0 ? kPageBytes : 0;
}

Sought SeekPage(int fd, uint64_t offset_bytes) {
  // Kernels before 5.9 look and begin nothing; those that have it are new enough.
  static const bool begins = ::syscall(__NR_cachestat, -1, nullptr, nullptr, 0) != 0 &&
                             errno == EBADF;
  if (!begins) return Sought::kUnknown;
  std::byte byte;
  iovec into{&byte, 1};
  const ssize_t got = ::preadv2(fd, &into, 1, static_cast<off_t>(offset_bytes), RWF_NOWAIT);
  if (got > 0) return Sought::kFound;
  return got < 0 && errno == EAGAIN ? Sought::kBegun : Sought::kUnknown;
}

bool TellsReads(int fd) {
  // Behind the end of any file: nothing is read, but the flag is looked at.
  std::byte byte;
  const iovec into{&byte, 1};
  constexpr off_t kBehind = std::numeric_limits<off_t>::max() - 1;
  if (::preadv2(fd, &into, 1, kBehind, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP) return true;
  struct statfs system{};
  if (::fstatfs(fd, &system) != 0) return false;
  const auto kind = static_cast<uint32_t>(system.f_type);
  return kind == kTmpfs || kind == kRamfs || kind == kHugetlbfs;
}

bool Uncache(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
  if (!have_cachestat.load(std::memory_order_relaxed)) return false;
  if (HoldsNone(fd, offset_bytes, length_bytes)) return true;
  ::posix_fadvise(fd, static_cast<off_t>(offset_bytes), static_cast<off_t>(length_bytes),
                  POSIX_FADV_DONTNEED);
  return HoldsNone(fd, offset_bytes, length_bytes);
}

void SplitFolio(int fd, uint64_t offset_bytes) {
  // MADV_COLD splits a folio of which only a part lies in its range. One page is mapped for that,
  // and never touched: of a file cut meanwhile nothing is populated, and no signal comes.
  void* at = ::mmap(nullptr, kPageBytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd,
                    static_cast<off_t>(offset_bytes));
  if (at == MAP_FAILED) return;
  ::madvise(at, kPageBytes, MADV_COLD);
  ::munmap(at, kPageBytes);
}

}  // namespace farpage
