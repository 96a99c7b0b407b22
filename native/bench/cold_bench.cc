// `cold`: random pages of a file that is not in the page cache, asked for by many threads at once.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <thread>

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

constexpr uint64_t kThreadsMax = 64;
constexpr uint64_t kPagesMax = 10'000'000;
constexpr uint64_t kRoundsMax = 100;

// One round: pages to be read, by pread(2) or, where there is a mapping, by a load from it.
struct Work {
  const PageFile& file;
  const std::vector<uint64_t>& pages;
  const PageMapping* mapping;
  std::atomic<uint64_t> next{0};
};

void ReadPage(const Work& work, uint64_t page) {
  if (work.mapping != nullptr) {
    (void)*static_cast<const volatile std::byte*>(work.mapping->page(page));
    return;
  }
  std::byte buffer[kFilePageBytes];
  if (pread(work.file.fd(), buffer, sizeof buffer, static_cast<off_t>(page * kFilePageBytes)) !=
      static_cast<ssize_t>(sizeof buffer))
    Die("pread");
}

// Takes the next page that nobody has taken until there is none, and notes how long each took.
void ReadUntilDone(Work& work, std::vector<uint64_t>& latencies_ns) {
  uint64_t index;
  while ((index = work.next.fetch_add(1, std::memory_order_relaxed)) < work.pages.size()) {
    const uint64_t begin = NowNs();
    ReadPage(work, work.pages[index]);
    latencies_ns.push_back(NowNs() - begin);
  }
}

void RunRound(Work& work, uint64_t threads, const std::string& way, uint64_t round) {
  std::vector<std::vector<uint64_t>> latencies_ns(threads);
  std::vector<std::thread> readers;
  const uint64_t begin = NowNs();
  for (std::vector<uint64_t>& own : latencies_ns)
    readers.emplace_back([&work, &own] { ReadUntilDone(work, own); });
  for (std::thread& reader : readers) reader.join();
  const double seconds = static_cast<double>(NowNs() - begin) / 1e9;
  LatencyHistogram latency;
  for (const std::vector<uint64_t>& own : latencies_ns)
    for (const uint64_t ns : own) latency.Add(ns);
  JsonObject()
      .Add("bench", "cold")
      .Add("way", way)
      .Add("threads", threads)
      .Add("round", round)
      .Add("sizeBytes", work.file.size_bytes())
      .Add("pages", latency.total())
      .Add("elapsedMs", seconds * 1e3)
      .Add("pagesPerSecond", static_cast<double>(latency.total()) / seconds)
      .Add("p50Us", latency.Quantile(0.5) / 1e3)
      .Add("p99Us", latency.Quantile(0.99) / 1e3)
      .Print();
}

}  // namespace

void ColdCommand(Options& options) {
  const std::string path = options.Required("file");
  const uint64_t size =
      options.Number("size", uint64_t{1} << 30, kFilePageBytes, uint64_t{1} << 40);
  const uint64_t wanted = options.Number("pages", 20'000, 1, kPagesMax);
  const uint64_t threads = options.Number("threads", 16, 1, kThreadsMax);
  const auto ways = options.Words("ways", "pread,fault", "pread,fault");
  const uint64_t rounds = options.Number("rounds", 5, 1, kRoundsMax);
  uint64_t seed = options.Number("seed", 1, 0, UINT32_MAX);
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  options.Finish();
  PinToCore(core);
  PageFile file(path, size);
  // No read-ahead for pread(2) either.
  if (posix_fadvise(file.fd(), 0, 0, POSIX_FADV_RANDOM) != 0) Die("posix_fadvise");
  for (uint64_t round = 0; round < rounds; round++) {
    for (const std::string& way : ways) {
      const std::vector<uint64_t> pages =
          RandomPages(std::min(wanted, file.pages()), file.pages(), ++seed);
      file.Prepare(Cached::kCold);
      errno = 0;
      if (file.CachedPages().value_or(0) != 0) Die("the page cache still holds some of the file");
      std::optional<PageMapping> mapping;
      if (way == "fault") mapping.emplace(file, MAP_SHARED);
      Work work{file, pages, mapping ? &*mapping : nullptr};
      RunRound(work, threads, way, round);
    }
  }
}

}  // namespace farpage::bench
