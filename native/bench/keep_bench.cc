// `keep`: the least that a pull of a copy has to do besides receiving: bytes from one buffer into
// fresh memory of a memfd and into a new file, which is durable at the end.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/clock.h"
#include "bench/commands.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "os/fd.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kPieceBytes = 256 * 1024;

void Put(int fd, const std::vector<std::byte>& piece, uint64_t offset) {
  for (uint64_t done = 0; done < piece.size();) {
    const ssize_t put = ::pwrite(fd, piece.data() + done, piece.size() - done,
                                 static_cast<off_t>(offset + done));
    if (put < 0 && errno != EINTR) Die("pwrite");
    if (put > 0) done += static_cast<uint64_t>(put);
  }
}

}  // namespace

void KeepCommand(Options& options) {
  const std::string path = options.Required("file");
  const uint64_t size =
      options.Number("size", uint64_t{512} << 20, kPieceBytes, uint64_t{1} << 40);
  options.Finish();
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) Die("open --file, which must not exist");
  // Nobody else sees it, and nothing is left of it however this ends.
  ::unlink(path.c_str());
  const Fd memory(::memfd_create("farpage-bench", MFD_CLOEXEC));
  if (!memory.valid()) Die("memfd_create");
  for (const int fd : {file.get(), memory.get()}) {
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) Die("ftruncate");
  }
  const std::vector<std::byte> piece(kPieceBytes, std::byte{1});
  const uint64_t begin = NowNs();
  for (uint64_t at = 0; at + kPieceBytes <= size; at += kPieceBytes) {
    Put(memory.get(), piece, at);
    Put(file.get(), piece, at);
  }
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
