#include "os/mapping.h"

#include <sys/mman.h>

#include "base/check.h"
#include "base/page.h"

namespace farpage {
namespace {

// Mappings take no memory here (MAP_NORESERVE): what runs out is addresses, or their number.
Error MapError(const char* context) {
  Error error = SystemError(context);
  if (error.system_errno == ENOMEM) error.code = Code::kAddressSpace;
  return error;
}

}  // namespace

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    Reset();
    base_ = std::exchange(other.base_, nullptr);
    length_ = std::exchange(other.length_, 0);
  }
  return *this;
}

void Mapping::Reset() {
  if (base_ != nullptr) ::munmap(base_, length_);
  base_ = nullptr;
  length_ = 0;
}

Result<Mapping> Mapping::Anonymous(uint64_t length_bytes) {
  void* at = ::mmap(nullptr, length_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return MapError("mmap anonymous");
  // Sparse by design: a huge page would commit 512 words' worth of pages for one touched word.
  ::madvise(at, length_bytes, MADV_NOHUGEPAGE);
  return Mapping(static_cast<std::byte*>(at), length_bytes);
}

Result<Mapping> Mapping::OfFile(int fd, uint64_t offset_bytes, uint64_t length_bytes,
                                int protection, int flags) {
  // Reserve one window more than needed, place the mapping on the boundary inside, give the
  // rest back: mmap itself only promises page alignment.
  const uint64_t rounded = (length_bytes + kPageBytes - 1) & ~(kPageBytes - 1);
  const uint64_t reserve = rounded + kWindowBytes;
  void* area = ::mmap(nullptr, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, 0);
  if (area == MAP_FAILED) return MapError("mmap reserve");
  const auto start = reinterpret_cast<uintptr_t>(area);
  const uintptr_t aligned = (start + kWindowBytes - 1) & ~(kWindowBytes - 1);
  if (aligned > start) ::munmap(area, aligned - start);
  const uintptr_t end = aligned + rounded;
  if (start + reserve > end) ::munmap(reinterpret_cast<void*>(end), start + reserve - end);
  void* at = ::mmap(reinterpret_cast<void*>(aligned), rounded, protection,
                    flags | MAP_FIXED | MAP_NORESERVE, fd, static_cast<off_t>(offset_bytes));
  if (at == MAP_FAILED) {
    const Error error = MapError("mmap file");
    ::munmap(reinterpret_cast<void*>(aligned), rounded);
    return error;
  }
  return Mapping(static_cast<std::byte*>(at), rounded);
}

bool Mapping::Renew(std::byte* at, uint64_t length_bytes, int fd, uint64_t offset_bytes,
                    int protection, int flags) const {
  FARPAGE_CHECK(at >= base_ && at + length_bytes <= base_ + length_, "a part of the mapping");
  return ::mmap(at, length_bytes, protection, flags | MAP_FIXED | MAP_NORESERVE, fd,
                static_cast<off_t>(offset_bytes)) != MAP_FAILED;
}

Result<Mapping> Mapping::Shared(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
  void* at = ::mmap(nullptr, length_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
                    static_cast<off_t>(offset_bytes));
  if (at == MAP_FAILED) return SystemError("mmap shared");
  return Mapping(static_cast<std::byte*>(at), length_bytes);
}

}  // namespace farpage
