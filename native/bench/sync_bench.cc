// `sync`: making a fraction of random dirty pages of a file durable, by three ways.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/clock.h"
#include "bench/commands.h"
#include "bench/core_pin.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "bench/page_file.h"
#include "bench/page_mapping.h"
#include "bench/random_pages.h"
#include "bench/uring.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kRoundsMax = 100;
constexpr uint64_t kUringDepthMax = 1024;

// What one round works on.
struct Round {
  PageFile& file;
  const std::vector<uint64_t>& pages;  // sorted
  const std::byte* memory;             // the dirty pages, one after the other
  uint32_t uring_depth;
};

const std::byte* BytesOf(const Round& round, size_t index) {
  return round.memory + index * kFilePageBytes;
}

void SyncByPwrite(const Round& round) {
  for (size_t index = 0; index < round.pages.size(); index++)
    if (pwrite(round.file.fd(), BytesOf(round, index), kFilePageBytes,
               static_cast<off_t>(round.pages[index] * kFilePageBytes)) != kFilePageBytes)
      Die("pwrite");
  Must(fdatasync(round.file.fd()), "fdatasync");
}

void SyncByUring(const Round& round) {
  Uring ring(round.uring_depth);
  size_t queued = 0;
  for (size_t done = 0; done < round.pages.size();) {
    for (; queued < round.pages.size() && queued - done < round.uring_depth; queued++)
      ring.Write(round.file.direct_fd(), BytesOf(round, queued),
                 static_cast<uint32_t>(kFilePageBytes), round.pages[queued] * kFilePageBytes);
    done += ring.Wait(static_cast<uint32_t>(kFilePageBytes));
  }
  Must(fdatasync(round.file.fd()), "fdatasync");
}

// Runs one way of writing once and prints what it took. Pages reach the page cache before the clock
// starts where the way needs them there (msync), as they were in memory before for the others.
void RunRound(const Round& round, const std::string& way, uint64_t number, const char* cached) {
  std::optional<PageMapping> mapping;
  if (way == "msync") {
    mapping.emplace(round.file, MAP_SHARED);
    for (size_t index = 0; index < round.pages.size(); index++)
      std::memcpy(mapping->page(round.pages[index]), BytesOf(round, index), kFilePageBytes);
  }
  const std::optional<uint64_t> cached_before = round.file.CachedPages();
  const std::optional<uint64_t> device_before = round.file.DeviceBytes();
  const uint64_t begin = NowNs();
  if (way == "pwrite") SyncByPwrite(round);
  else if (way == "uring") SyncByUring(round);
  else Must(msync(mapping->start(), mapping->bytes(), MS_SYNC), "msync");
  const uint64_t elapsed = NowNs() - begin;
  const std::optional<uint64_t> device_after = round.file.DeviceBytes();
  const std::optional<uint64_t> cached_after = round.file.CachedPages();
  JsonObject line;
  line.Add("bench", "sync").Add("way", way).Add("cached", cached).Add("round", number);
  line.Add("sizeBytes", round.file.size_bytes());
  line.Add("dirtyBytes", round.pages.size() * kFilePageBytes);
  line.Add("elapsedMs", static_cast<double>(elapsed) / 1e6);
  if (device_before && device_after) line.Add("deviceBytes", *device_after - *device_before);
  else line.AddJson("deviceBytes", "null");
  if (cached_before && cached_after) {
    line.Add("cachedPagesBefore", *cached_before).Add("cachedPagesAfter", *cached_after);
  }
  line.Print();
}

}  // namespace

void SyncCommand(Options& options) {
  const std::string path = options.Required("file");
  const uint64_t size =
      options.Number("size", uint64_t{1} << 30, kFilePageBytes, uint64_t{1} << 40);
  const uint64_t permille = options.Number("permille", 10, 1, 1000);
  const auto ways = options.Words("ways", "pwrite,uring,msync", "pwrite,uring,msync");
  const auto states = options.Words("cached", "hot", "hot,cold");
  const uint64_t rounds = options.Number("rounds", 5, 1, kRoundsMax);
  const auto depth = static_cast<uint32_t>(options.Number("uring-depth", 64, 1, kUringDepthMax));
  const uint64_t first_seed = options.Number("seed", 1, 0, UINT32_MAX);
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  options.Finish();
  PinToCore(core);
  PageFile file(path, size);
  const uint64_t count = std::max<uint64_t>(1, file.pages() * permille / 1000);
  // Page-aligned, as O_DIRECT wants it.
  auto* const memory = static_cast<std::byte*>(
      std::aligned_alloc(kFilePageBytes, static_cast<size_t>(count * kFilePageBytes)));
  if (memory == nullptr) Die("no memory for the dirty pages");
  uint64_t seed = first_seed;
  for (uint64_t round = 0; round < rounds; round++) {
    for (const std::string& state : states) {
      for (const std::string& way : ways) {
        std::vector<uint64_t> pages = RandomPages(count, file.pages(), ++seed);
        std::sort(pages.begin(), pages.end());
        std::memset(memory, static_cast<int>(seed & 0xFF), count * kFilePageBytes);
        file.Prepare(state == "hot" ? Cached::kHot : Cached::kCold);
        RunRound({file, pages, memory, depth}, way, round, state.c_str());
      }
    }
  }
  std::free(memory);
}

}  // namespace farpage::bench
