// `touch`: the first touch of pages that are in the page cache but not in the page table.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "bench/commands.h"
#include "bench/core_pin.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "bench/latency_histogram.h"
#include "bench/page_file.h"
#include "bench/page_mapping.h"
#include "bench/random_pages.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kRoundsMax = 100;
constexpr uint64_t kWindowPagesMax = 1 << 18;

// Which pages one round touches, and how.
struct Touches {
  const std::vector<uint64_t>& windows;  // one page in each
  uint64_t window_pages;
  int sharing;  // MAP_SHARED or MAP_PRIVATE
  bool copy;    // the whole page, as a READ of 4 KiB does, otherwise a load
};

void RunRound(const PageFile& file, const Touches& touches, uint64_t round) {
  const auto& [windows, window_pages, sharing, copy] = touches;
  const PageMapping mapping(file, sharing);
  LatencyHistogram latency;
  std::byte copied[kFilePageBytes];
  const uint64_t begin = NowNs();
  uint64_t before = begin;
  for (const uint64_t window : windows) {
    const std::byte* const page = mapping.page(window * window_pages + window % window_pages);
    (void)*static_cast<const volatile std::byte*>(page);
    if (copy) {
      std::memcpy(copied, page, sizeof copied);
      asm volatile("" : : "r"(copied) : "memory");
    }
    const uint64_t now = NowNs();
    latency.Add(now - before);
    before = now;
  }
  JsonObject()
      .Add("bench", "touch")
      .Add("mapping", sharing == MAP_SHARED ? "shared" : "private")
      .Add("copied", copy)
      .Add("windowBytes", window_pages * kFilePageBytes)
      .Add("round", round)
      .Add("sizeBytes", file.size_bytes())
      .Add("pages", latency.total())
      .Add("meanUs",
           static_cast<double>(before - begin) / 1e3 / static_cast<double>(latency.total()))
      .Add("p50Us", latency.Quantile(0.5) / 1e3)
      .Add("p99Us", latency.Quantile(0.99) / 1e3)
      .Print();
}

}  // namespace

void TouchCommand(Options& options) {
  const std::string path = options.Required("file");
  const uint64_t size =
      options.Number("size", uint64_t{1} << 30, kFilePageBytes, uint64_t{1} << 40);
  const uint64_t wanted = options.Number("pages", 16'000, 1, UINT32_MAX);
  // One fault maps the page cache's pages around it too: 64 KiB of small folios, all of a large
  // folio of 2 MiB. With one touch a window of that size every touch is a fault.
  const uint64_t window_pages =
      options.Number("window", uint64_t{2} << 20, kFilePageBytes,
                     kWindowPagesMax * kFilePageBytes) / kFilePageBytes;
  const auto mappings = options.Words("mappings", "private", "private,shared");
  const bool copy = options.Words("access", "copy", "copy,load")[0] == "copy";
  const uint64_t rounds = options.Number("rounds", 5, 1, kRoundsMax);
  uint64_t seed = options.Number("seed", 1, 0, UINT32_MAX);
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  options.Finish();
  PinToCore(core);
  PageFile file(path, size);
  const uint64_t windows = file.pages() / window_pages;
  errno = 0;
  if (windows == 0) Die("the file is smaller than a window");
  for (uint64_t round = 0; round < rounds; round++) {
    for (const std::string& mapping : mappings) {
      file.Prepare(Cached::kHot);
      const std::vector<uint64_t> touched =
          RandomPages(std::min(wanted, windows), windows, ++seed);
      RunRound(file,
               {touched, window_pages, mapping == "shared" ? MAP_SHARED : MAP_PRIVATE, copy},
               round);
    }
  }
}

}  // namespace farpage::bench
