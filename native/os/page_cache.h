// What the kernel's page cache holds of a file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace farpage {

// How many bytes from `offset_bytes` on, in whole pages and at most `length_bytes`, are in the
// page cache. By cachestat(2) (Linux 6.5, 0.2 us), else by mincore(2) on `mapped`, the address
// where the range is mapped. Zero when neither can tell. Thread: any.
uint64_t CachedBytes(int fd, uint64_t offset_bytes, uint64_t length_bytes, std::byte* mapped);

enum class Sought : uint8_t {
  kFound,    // in the page cache, and whole
  kBegun,    // on its way from the device, by this call if not before
  kUnknown,  // there is no such page, or the system cannot tell
};

// Looks for one page of a file and begins to read it, and no other, where it is not in the page
// cache: one call for two (preadv2(2) RWF_NOWAIT where cachestat(2) tells of Linux 6.5, on a file
// that was advised POSIX_FADV_RANDOM). 0.4 us where it is found. Never waits. Thread: any.
Sought SeekPage(int fd, uint64_t offset_bytes);

// Whether preadv2(RWF_NOWAIT) tells when a read of this file is done, or none ever waits because
// its file system is memory (tmpfs, which some kernels let refuse the flag). False: reads may wait
// and the file system cannot tell (NFS, FUSE). Reads nothing. Thread: any but a fabric thread.
bool TellsReads(int fd);

// Makes the page cache let go of whole pages, and of no others. True: it holds none of them now.
// False: pages are mapped or dirty, or nobody can tell; it keeps them. 0.3 us where nothing is
// held, else some microseconds. Thread: any.
bool Uncache(int fd, uint64_t offset_bytes, uint64_t length_bytes);

// Splits the large folio around a page that is in the page cache, so that its pages may come and
// go one by one: 50 us for 2 MiB, and 0.2 us more for each page of it that is mapped. A hint;
// needs Linux 5.4, and does nothing while another process maps the folio. Thread: any.
void SplitFolio(int fd, uint64_t offset_bytes);

}  // namespace farpage
