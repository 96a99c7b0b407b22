// `keep`: the least that a pull of a copy has to do besides receiving: bytes from one buffer into
// fresh memory of a memfd and, around the page cache, into a new file, which is durable at the end.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/clock.h"
#include "base/page.h"
#include "bench/commands.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "bench/uring.h"
#include "os/fd.h"

namespace farpage::bench {
namespace {

constexpr uint32_t kPieceBytes = 256 * 1024;

constexpr uint32_t kDepth = 8;

}  // namespace

void KeepCommand(Options& options) {
  const std::string path = options.Required("file");
  const uint64_t size =
      options.Number("size", uint64_t{512} << 20, kPieceBytes, uint64_t{1} << 40);
  options.Finish();
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600));
  if (!file.valid()) Die("open --file, which must not exist");
  // Nobody else sees it, and nothing is left of it however this ends.
  ::unlink(path.c_str());
  const Fd memory(::memfd_create("farpage-bench", MFD_CLOEXEC));
  if (!memory.valid()) Die("memfd_create");
  for (const int fd : {file.get(), memory.get()}) {
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) Die("ftruncate");
  }
  const std::unique_ptr<std::byte[], decltype(&std::free)> piece(
      static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kPieceBytes)), &std::free);
  if (piece == nullptr) Die("aligned_alloc");
  std::memset(piece.get(), 1, kPieceBytes);
  Uring ring(kDepth);
  uint32_t under_way = 0;
  const auto wait = [&] { under_way -= ring.Wait(kPieceBytes); };
  const uint64_t begin = NowNs();
  for (uint64_t at = 0; at + kPieceBytes <= size; at += kPieceBytes) {
    while (under_way == kDepth) wait();
    ring.Write(file.get(), piece.get(), kPieceBytes, at);
    under_way++;
    ring.Submit();
    if (::pwrite(memory.get(), piece.get(), kPieceBytes, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(kPieceBytes)) {
      Die("pwrite");
    }
  }
  while (under_way != 0) wait();
  const uint64_t copied = NowNs();
  if (::fdatasync(file.get()) != 0) Die("fdatasync");
  const uint64_t end = NowNs();
  const auto bytes = static_cast<double>(size / kPieceBytes * kPieceBytes);
  JsonObject()
      .Add("bench", "keep")
      .Add("sizeBytes", size)
      .Add("copiedBytesPerSecond", bytes * 1e9 / static_cast<double>(copied - begin))
      .Add("bytesPerSecond", bytes * 1e9 / static_cast<double>(end - begin))
      .Print();
}

}  // namespace farpage::bench
