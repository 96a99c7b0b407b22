#include "memory/mapped_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <vector>

#include "os/drop_pages.h"
#include "os/page_cache.h"

namespace farpage {

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

Result<std::unique_ptr<MappedMemory>> MappedMemory::Create(int fd, uint64_t offset_bytes,
                                                           uint64_t length_bytes,
                                                           bool writable) {
  std::unique_ptr<MappedMemory> memory(
      new MappedMemory(fd, offset_bytes, length_bytes, writable));
  if (Status mapped = memory->Map(); !mapped.ok()) return mapped.error();
  return memory;
}

Status MappedMemory::Map() {
  auto mapping = Mapping::OfFile(fd_, offset_bytes_, length_bytes_, protection(), flags());
  if (!mapping.ok()) return mapping.error();
  mapping_ = std::move(mapping).value();
  Advise(mapping_.data(), mapping_.size());
  address_.store(mapping_.data(), std::memory_order_relaxed);
  return {};
}

int MappedMemory::protection() const { return PROT_READ | (writable_ ? PROT_WRITE : 0); }
int MappedMemory::flags() const { return writable_ ? MAP_PRIVATE : MAP_SHARED; }

void MappedMemory::Advise(std::byte* at, uint64_t length_bytes) {
  // Reads bring in the page that was asked for and nothing else: "nothing untouched is touched".
  ::madvise(at, length_bytes, MADV_RANDOM);
  ::madvise(at, length_bytes, MADV_DONTDUMP);
  // A child between fork and exec must not make the parent's next write copy a page.
  ::madvise(at, length_bytes, MADV_DONTFORK);
}

bool MappedMemory::DropTables(std::span<const PageRun> windows) {
  if (address() == nullptr) return true;  // the kernel freed them with the range
  if (FreeTables(address(), windows)) return true;
  // Mapped over: what was there is unmapped, tables and all.
  for (const PageRun& run : windows) {
    std::byte* at = address() + run.offset_bytes();
    if (!mapping_.Renew(at, run.length_bytes(), fd_, offset_bytes_ + run.offset_bytes(),
                        protection(), flags())) {
      return false;
    }
    Advise(at, run.length_bytes());
  }
  return true;
}

void MappedMemory::Unmap() {
  address_.store(nullptr, std::memory_order_relaxed);
  mapping_.Reset();
}

uint64_t MappedMemory::CachedPages(PageRun run) const {
  return CachedBytes(fd_, offset_bytes_ + run.offset_bytes(), run.length_bytes(),
                     address() + run.offset_bytes()) >>
         kPageShift;
}

uint64_t MappedMemory::PopulatesInPlace(PageRun run) const {
  if (run.count != 1) return CachedPages(run);
  switch (SeekPage(fd_, offset_bytes_ + run.offset_bytes())) {
    case Sought::kFound: return 1;
    case Sought::kBegun: begun_.store(run.first, std::memory_order_relaxed); return 0;
    case Sought::kUnknown: break;
  }
  return CachedPages(run);
}

void MappedMemory::StartRead(PageRun run) {
  PageIndex begun = run.first;
  if (run.count == 1 &&
      begun_.compare_exchange_strong(begun, kNoPage, std::memory_order_relaxed)) {
    return;
  }
  // Exactly these pages, in one request: the mapping itself is advised not to read ahead.
  ::posix_fadvise(fd_, static_cast<off_t>(offset_bytes_ + run.offset_bytes()),
                  static_cast<off_t>(run.length_bytes()), POSIX_FADV_WILLNEED);
}

bool MappedMemory::IsRead(PageRun run) const {
  // The last page of a request arrives with the others or behind them. RWF_NOWAIT: EAGAIN while
  // the page is locked for its read; anything else is for Populate to find out.
  std::byte byte;
  iovec into{&byte, 1};
  const uint64_t last = offset_bytes_ + ((run.end() - 1) << kPageShift);
  return ::preadv2(fd_, &into, 1, static_cast<off_t>(last), RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

Status MappedMemory::Populate(PageRun run) { return Advise(run, MADV_POPULATE_READ); }

Status MappedMemory::PopulateToWrite(PageRun run) {
  return Advise(run, writable_ ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

Status MappedMemory::Advise(PageRun run, int advice) {
  std::byte* at = address() + run.offset_bytes();
  while (::madvise(at, run.length_bytes(), advice) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EINVAL) return {};  // before Linux 5.14: the first touch waits for the device
    if (errno == ENOMEM) return Error{Code::kMemoryFull, errno, "madvise MADV_POPULATE"};
    if (errno != EFAULT) return SystemError("madvise MADV_POPULATE");
    struct stat status{};
    if (::fstat(fd_, &status) == 0 &&
        static_cast<uint64_t>(status.st_size) <
            offset_bytes_ + run.offset_bytes() + run.length_bytes() - kPageBytes + 1) {
      return Error{Code::kFileChanged, 0, "the file has become shorter"};
    }
    return Error{Code::kIo, EFAULT, "madvise MADV_POPULATE"};
  }
  return {};
}

// Breaks the pages off the file: private copies, which Populate would not make.
Status MappedMemory::MakeRoom(PageRun run) { return Advise(run, MADV_POPULATE_WRITE); }

void MappedMemory::DropRanges(std::span<const PageRun> runs) {
  if (address() == nullptr) return;  // what is not mapped holds nothing
  std::vector<iovec> ranges;
  ranges.reserve(runs.size());
  for (const PageRun& run : runs) {
    ranges.push_back({address() + run.offset_bytes(), run.length_bytes()});
  }
  DropPages(ranges);
}

void MappedMemory::Drop(std::span<const PageRun> runs) { DropRanges(runs); }

void MappedMemory::DropPrivateCopies(std::span<const PageRun> runs) {
  // A copy whose page the page cache does not hold is kept: it takes no more memory than that page
  // would, and who reads it next need not wait for the device.
  std::vector<PageRun> cached;
  for (const PageRun& run : runs) {
    const uint64_t pages = CachedPages(run);
    if (pages == run.count) {
      cached.push_back(run);
      continue;
    }
    for (PageIndex page = run.first; page < run.end(); page++) {
      if (CachedPages({page, 1}) == 1) cached.push_back({page, 1});
    }
  }
  DropRanges(cached);
}

void MappedMemory::DropWindow(PageRun window) {
  ::posix_fadvise(fd_, static_cast<off_t>(offset_bytes_ + window.offset_bytes()),
                  static_cast<off_t>(window.length_bytes()), POSIX_FADV_DONTNEED);
}

}  // namespace farpage
