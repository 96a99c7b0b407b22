// The only code that touches the bytes of regions on behalf of clients, and the only file exempt
// from ThreadSanitizer: clients race on their bytes as they please, like threads of one program.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace farpage {

// Copies of up to this many bytes use 8-byte loads and stores where the region side is aligned,
// so that an aligned 8-byte value never tears.
inline constexpr size_t kUntornBytesMax = 256;

// Installs the SIGBUS handler that the copies below rely on: a page of a mapped file that cannot
// be read (truncated underneath, I/O error) becomes a false instead of the end of the process.
// Other SIGBUS go to the handler that was there before. Idempotent, any thread; call it before
// the first copy.
void InstallBusErrorGuard();

// Copy bytes out of and into region memory. False: a page could not be touched, some bytes may
// have been copied. Requires: a turn, and that the pages are readable (writable and dirty).
[[nodiscard]] bool CopyFromRegion(void* to, const std::byte* from, size_t bytes);
[[nodiscard]] bool CopyToRegion(std::byte* to, const void* from, size_t bytes);

// CRC32C of the bytes, continued from `crc` and left there, while they are copied out.
[[nodiscard]] bool CopyAndSumFromRegion(void* to, const std::byte* from, size_t bytes,
                                        uint32_t* crc);

// Adds to the 8 bytes at `at` (8-byte aligned, host order), atomically against every other access;
// the old value goes to `old_value`. False: the page could not be touched.
[[nodiscard]] bool AtomicFetchAdd(std::byte* at, uint64_t add, uint64_t* old_value);
[[nodiscard]] bool AtomicLoad(const std::byte* at, uint64_t* value);
// One try: true in `done` when the value was `expected` and is now `desired`; `expected` then
// or else holds the value found.
[[nodiscard]] bool AtomicExchangeIf(std::byte* at, uint64_t* expected, uint64_t desired,
                                    bool* done);

// sendmsg(2), recvmsg(2) and pwrite(2) of region bytes without a copy in between. The kernel
// reports a bad page as EFAULT, so no guard is needed.
ssize_t SendRegionBytes(int socket, const msghdr& message, int flags);
ssize_t ReceiveRegionBytes(int socket, msghdr& message, int flags);
ssize_t WriteRegionBytes(int file, const std::byte* from, size_t bytes, off_t offset);

}  // namespace farpage
