#include "memory/anonymous_memory.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

namespace farpage {

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

Result<std::unique_ptr<AnonymousMemory>> AnonymousMemory::Create(uint64_t length_bytes,
                                                                 uint8_t fill_byte) {
  Fd fd(::memfd_create("farpage-region", MFD_CLOEXEC));
  if (!fd.valid()) return SystemError("memfd_create");
  const uint64_t rounded = (length_bytes + kPageBytes - 1) & ~(kPageBytes - 1);
  if (::ftruncate(fd.get(), static_cast<off_t>(rounded)) != 0) return SystemError("ftruncate");
  auto mapping = Mapping::OfFile(fd.get(), 0, rounded, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (!mapping.ok()) return mapping.error();
  ::madvise(mapping.value().data(), rounded, MADV_DONTDUMP);
  return std::unique_ptr<AnonymousMemory>(
      new AnonymousMemory(std::move(fd), std::move(mapping).value(), fill_byte));
}

Status AnonymousMemory::Populate(PageRun run) {
  std::byte* at = address() + run.offset_bytes();
  // Allocates the pages now, where running out is an errno and not a signal at the first touch
  // (MADV_POPULATE_WRITE, Linux 5.14).
  while (::madvise(at, run.length_bytes(), MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EINVAL) break;  // an older kernel: the first touch allocates
    if (errno == EFAULT) return Error{Code::kMemoryFull, errno, "madvise MADV_POPULATE_WRITE"};
    return SystemError("madvise MADV_POPULATE_WRITE");
  }
  if (fill_byte_ != 0) std::memset(at, fill_byte_, run.length_bytes());
  return {};
}

void AnonymousMemory::Drop(std::span<const PageRun> runs) {
  for (const PageRun& run : runs) {
    ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(run.offset_bytes()),
                static_cast<off_t>(run.length_bytes()));
  }
}

}  // namespace farpage
