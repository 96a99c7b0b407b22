#include "memory/staged_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "memory/region_copy.h"
#include "os/drop_pages.h"

namespace farpage {

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace {

// Runs of up to so many pages are touched page by page: a fault of a memfd's page takes 2.4 us,
// MADV_POPULATE_WRITE of it, which looks for the page before and after, 3.1 us.
constexpr uint64_t kTouchedPagesMax = 4;

}  // namespace

Result<std::unique_ptr<StagedMemory>> StagedMemory::Create(uint64_t length_bytes,
                                                           PageStore* store) {
  Fd fd(::memfd_create("farpage-region", MFD_CLOEXEC));
  if (!fd.valid()) return SystemError("memfd_create");
  return Make(std::move(fd), length_bytes, store, Code::kMemoryFull);
}

Result<std::unique_ptr<StagedMemory>> StagedMemory::Over(Fd file, uint64_t length_bytes,
                                                         PageStore* store) {
  return Make(std::move(file), length_bytes, store, Code::kNoSpace);
}

Result<std::unique_ptr<StagedMemory>> StagedMemory::Make(Fd file, uint64_t length_bytes,
                                                         PageStore* store, Code full) {
  const uint64_t rounded = (length_bytes + kPageBytes - 1) & ~(kPageBytes - 1);
  if (::ftruncate(file.get(), static_cast<off_t>(rounded)) != 0) return SystemError("ftruncate");
  std::unique_ptr<StagedMemory> memory(new StagedMemory(std::move(file), rounded, store, full));
  if (Status mapped = memory->Map(); !mapped.ok()) return mapped.error();
  return memory;
}

Status StagedMemory::Map() {
  auto mapping =
      Mapping::OfFile(fd_.get(), 0, length_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (!mapping.ok()) return mapping.error();
  mapping_ = std::move(mapping).value();
  Advise(mapping_.data(), length_bytes_);
  InstallBusErrorGuard();
  address_.store(mapping_.data(), std::memory_order_relaxed);
  return {};
}

void StagedMemory::Advise(std::byte* at, uint64_t length_bytes) {
  ::madvise(at, length_bytes, MADV_DONTDUMP);
}

bool StagedMemory::DropTables(std::span<const PageRun> windows) {
  if (address() == nullptr) return true;  // the kernel freed them with the range
  if (FreeTables(address(), windows)) return true;
  // Mapped over: what was there is unmapped, tables and all.
  for (const PageRun& run : windows) {
    std::byte* at = address() + run.offset_bytes();
    if (!mapping_.Renew(at, run.length_bytes(), fd_.get(), run.offset_bytes(),
                        PROT_READ | PROT_WRITE, MAP_SHARED)) {
      return false;
    }
    Advise(at, run.length_bytes());
  }
  return true;
}

Status StagedMemory::ReadUnmapped(PageRun run, std::byte* into) const {
  for (uint64_t done = 0; done < run.length_bytes();) {
    const ssize_t got = ::pread(fd_.get(), into + done, run.length_bytes() - done,
                                static_cast<off_t>(run.offset_bytes() + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError("pread region memory");
    if (got == 0) return Error{Code::kIo, 0, "pread beyond the end of region memory"};
    done += static_cast<uint64_t>(got);
  }
  return {};
}

void StagedMemory::Unmap() {
  address_.store(nullptr, std::memory_order_relaxed);
  mapping_.Reset();
}

uint64_t StagedMemory::PopulatesInPlace(PageRun run) const {
  const PagesFrom from = store_->OriginOf(run);
  switch (from.origin) {
    case PageOrigin::kFill: return from.pages;
    case PageOrigin::kFile:
    case PageOrigin::kKept: return store_->CachedPages({run.first, from.pages});
    case PageOrigin::kRemote: break;
  }
  return 0;
}

// Allocates the pages, zeroed, here where running out is an error and nothing worse: by the guarded
// touch of a few, by MADV_POPULATE_WRITE (Linux 5.14) of many.
Status StagedMemory::Commit(PageRun run) {
  if (run.count <= kTouchedPagesMax) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      uint64_t old_value = 0;
      if (!AtomicFetchAdd(address() + (page << kPageShift), 0, &old_value)) {
        return Error{full_, 0, "touch region memory"};
      }
    }
    return {};
  }
  while (::madvise(address() + run.offset_bytes(), run.length_bytes(), MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EINVAL) {  // an older kernel
      if (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(run.offset_bytes()),
                      static_cast<off_t>(run.length_bytes())) == 0) {
        return {};
      }
      if (errno == ENOSPC) return Error{full_, errno, "fallocate region memory"};
      return SystemError("fallocate");
    }
    if (errno == EFAULT) return Error{full_, errno, "madvise MADV_POPULATE_WRITE"};
    return SystemError("madvise MADV_POPULATE_WRITE");
  }
  return {};
}

Status StagedMemory::Populate(PageRun run) {
  if (Status committed = Commit(run); !committed.ok()) return committed;
  while (run.count != 0) {
    const PagesFrom from = store_->OriginOf(run);
    const PageRun part{run.first, std::min(from.pages, run.count)};
    std::byte* at = address() + part.offset_bytes();
    if (from.origin != PageOrigin::kFill) {
      if (Status read = store_->Read(part, at); !read.ok()) return read;
    } else if (store_->fill_byte() != 0) {
      std::memset(at, store_->fill_byte(), part.length_bytes());
    }
    run = {part.end(), run.count - part.count};
  }
  return {};
}

void StagedMemory::StartPopulate(PageRun run, ReadDone done) {
  if (Status committed = Commit(run); !committed.ok()) {
    done(committed);
    return;
  }
  store_->StartRead(run, address() + run.offset_bytes(), std::move(done));
}

// By a write: it allocates pages without zeroing them first or mapping them, and takes half as long
// as to commit them and copy.
Status StagedMemory::PopulateFrom(PageRun run, const std::byte* bytes) {
  for (uint64_t done = 0; done < run.length_bytes();) {
    const ssize_t put = ::pwrite(fd_.get(), bytes + done, run.length_bytes() - done,
                                 static_cast<off_t>(run.offset_bytes() + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && (errno == ENOSPC || errno == ENOMEM)) {
      return Error{full_, errno, "pwrite region memory"};
    }
    if (put < 0) return SystemError("pwrite region memory");
    done += static_cast<uint64_t>(put);
  }
  return {};
}

void StagedMemory::Drop(std::span<const PageRun> runs) {
  // Out of the page tables first, many at once: a hole in what is mapped makes the other cores
  // forget it, one interrupt for each run.
  if (std::byte* const base = address(); base != nullptr) {
    std::vector<iovec> ranges;
    ranges.reserve(runs.size());
    for (const PageRun& run : runs) {
      ranges.push_back({base + run.offset_bytes(), run.length_bytes()});
    }
    DropPages(ranges);
  }
  for (const PageRun& run : runs) {
    ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(run.offset_bytes()),
                static_cast<off_t>(run.length_bytes()));
  }
}

}  // namespace farpage
