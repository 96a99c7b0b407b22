// `decompress`: what a page from compressed memory costs without a tier: its compressor's time
// into one buffer, and with fresh memory of a memfd to put it in.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <vector>

#include <lz4.h>

#include "base/clock.h"
#include "base/page.h"
#include "bench/commands.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "os/fd.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kPagesMax = 1 << 20;

using Compressed = std::vector<std::vector<char>>;

// Every page of the file.
Compressed CompressedPages(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) Die("open --file");
  Compressed pages;
  std::array<char, 4096> page;
  while (::read(file.get(), page.data(), page.size()) == static_cast<ssize_t>(page.size())) {
    std::vector<char> room(static_cast<size_t>(LZ4_compressBound(static_cast<int>(page.size()))));
    const int bytes = LZ4_compress_default(page.data(), room.data(),
                                           static_cast<int>(page.size()),
                                           static_cast<int>(room.size()));
    pages.emplace_back(room.begin(), room.begin() + bytes);
    if (pages.size() > kPagesMax) Die("--file is too large");
  }
  if (pages.empty()) Die("--file has no page");
  return pages;
}

// Microseconds a page; `memory`: a file that takes each of them, or -1.
double MeanUs(const Compressed& pages, int memory) {
  std::array<char, 4096> page;
  off_t at = 0;
  const uint64_t begin = NowNs();
  for (const std::vector<char>& bytes : pages) {
    if (LZ4_decompress_safe(bytes.data(), page.data(), static_cast<int>(bytes.size()),
                            static_cast<int>(page.size())) != static_cast<int>(page.size())) {
      Die("LZ4_decompress_safe");
    }
    if (memory >= 0 && ::pwrite(memory, page.data(), page.size(), at) < 0) Die("pwrite");
    at += static_cast<off_t>(page.size());
  }
  return static_cast<double>(NowNs() - begin) / 1e3 / static_cast<double>(pages.size());
}

}  // namespace

void DecompressCommand(Options& options) {
  const std::string path = options.Required("file");
  options.Finish();
  const Compressed pages = CompressedPages(path);
  uint64_t bytes = 0;
  for (const auto& page : pages) bytes += page.size();
  const Fd memory(::memfd_create("farpage-bench", MFD_CLOEXEC));
  const auto length = static_cast<off_t>(pages.size() << kPageShift);
  if (!memory.valid() || ::ftruncate(memory.get(), length) != 0) Die("memfd_create");
  JsonObject()
      .Add("bench", "decompress")
      .Add("pages", static_cast<uint64_t>(pages.size()))
      .Add("bytes", bytes)
      .Add("meanUs", MeanUs(pages, -1))
      .Add("placedUs", MeanUs(pages, memory.get()))
      .Print();
}

}  // namespace farpage::bench
