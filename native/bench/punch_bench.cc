// `punch`: giving scattered pages of a memfd back, one fallocate(2) for each run of them.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "base/clock.h"
#include "base/page.h"
#include "bench/commands.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "os/fd.h"
#include "os/mapping.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kPagesMax = 10'000'000;
constexpr uint64_t kWindowPagesMax = 1 << 18;

// One page in each window, where `initiator --visit` reads it.
std::vector<PageRun> RunsOf(uint64_t pages, uint64_t window_pages) {
  std::vector<PageRun> runs;
  for (uint64_t window = 0; window < pages; window++) {
    const PageIndex page = window * window_pages + window % window_pages;
    if (!runs.empty() && runs.back().end() == page) {
      runs.back().count++;
    } else {
      runs.push_back({page, 1});
    }
  }
  return runs;
}

}  // namespace

void PunchCommand(Options& options) {
  const uint64_t pages = options.Number("pages", 100'000, 1, kPagesMax);
  const uint64_t window_pages =
      options.Number("window", 4 * kPageBytes, kPageBytes, kWindowPagesMax * kPageBytes) /
      kPageBytes;
  options.Finish();
  const std::vector<PageRun> runs = RunsOf(pages, window_pages);
  const uint64_t length = pages * window_pages * kPageBytes;
  const Fd fd(::memfd_create("farpage-bench", MFD_CLOEXEC));
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(length)) != 0) Die("memfd_create");
  auto mapping = Mapping::OfFile(fd.get(), 0, length, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (!mapping.ok()) Die("mmap");
  for (const PageRun& run : runs) {
    for (PageIndex page = run.first; page < run.end(); page++) {
      *static_cast<volatile std::byte*>(mapping.value().data() + (page << kPageShift)) =
          std::byte{1};
    }
  }
  const uint64_t begin = NowNs();
  for (const PageRun& run : runs) {
    if (::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(run.offset_bytes()),
                    static_cast<off_t>(run.length_bytes())) != 0) {
      Die("fallocate");
    }
  }
  const auto elapsed_ns = static_cast<double>(NowNs() - begin);
  JsonObject()
      .Add("bench", "punch")
      .Add("pages", pages)
      .Add("runs", static_cast<uint64_t>(runs.size()))
      .Add("elapsedMs", elapsed_ns / 1e6)
      .Add("meanUs", elapsed_ns / 1e3 / static_cast<double>(pages))
      .Print();
}

}  // namespace farpage::bench
