// `beside`: round trips that poll, alone and while the smallest program does to a file what a sync
// or a page-in does.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "bench/commands.h"
#include "bench/core_pin.h"
#include "bench/die.h"
#include "bench/endpoint.h"
#include "bench/json_object.h"
#include "bench/load.h"
#include "bench/page_file.h"
#include "bench/random_pages.h"
#include "bench/raw_client.h"
#include "bench/raw_server.h"
#include "bench/uring.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kDepthOfWorkMax = 1024;
constexpr uint64_t kThreadsMax = 64;
constexpr const char* kWorks = "uring,direct,pwrite,pread";

// What goes on beside the round trips, until it is told to stop or there is nothing left to do.
class Work {
 public:
  Work(PageFile& file, std::string way, uint32_t depth, uint64_t seed)
      : file_(file), way_(std::move(way)), depth_(depth) {
    if (way_ == "pread") {
      pages_ = RandomPages(file_.pages(), file_.pages(), seed);
      // No read-ahead, and nothing that was read before.
      if (posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_RANDOM) != 0) Die("posix_fadvise");
      file_.Prepare(Cached::kCold);
    } else {
      pages_ = RandomPages(std::max<uint64_t>(1, file_.pages() / 10), file_.pages(), seed);
      std::sort(pages_.begin(), pages_.end());
      page_.reset(static_cast<std::byte*>(std::aligned_alloc(kFilePageBytes, kFilePageBytes)));
      std::fill_n(page_.get(), kFilePageBytes, static_cast<std::byte>(seed));
      file_.Prepare(Cached::kHot);
    }
  }
  ~Work() { Stop(); }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  void Start() {
    begin_ns_ = NowNs();
    const uint64_t threads = way_ == "pread" ? depth_ : 1;
    running_.store(threads);
    for (uint64_t n = 0; n < threads; n++) {
      threads_.emplace_back([this] {
        Run();
        if (running_.fetch_sub(1) == 1) end_ns_ = NowNs();
      });
    }
  }
  // True where it is over by itself.
  [[nodiscard]] bool over() const { return running_.load() == 0; }
  void Stop() {
    stop_.store(true, std::memory_order_relaxed);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  [[nodiscard]] double PagesPerSecond() const {
    const uint64_t done = std::min<uint64_t>(next_.load(), pages_.size());
    return static_cast<double>(done) * 1e9 / static_cast<double>(end_ns_ - begin_ns_);
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };

  // The next page that nobody has taken; false when none is left or it is time to stop.
  bool Take(uint64_t* offset) {
    if (stop_.load(std::memory_order_relaxed)) return false;
    const uint64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= pages_.size()) return false;
    *offset = pages_[index] * kFilePageBytes;
    return true;
  }

  void Run() {
    if (way_ == "pread") return ReadAll();
    if (way_ == "uring") WriteByUring();
    else WriteOneByOne(way_ == "direct" ? file_.direct_fd() : file_.fd());
    Must(fdatasync(file_.fd()), "fdatasync");
  }
  void ReadAll() {
    std::byte buffer[kFilePageBytes];
    for (uint64_t offset = 0; Take(&offset);)
      Must(pread(file_.fd(), buffer, sizeof buffer, static_cast<off_t>(offset)), "pread");
  }
  void WriteOneByOne(int fd) {
    for (uint64_t offset = 0; Take(&offset);)
      Must(pwrite(fd, page_.get(), kFilePageBytes, static_cast<off_t>(offset)), "pwrite");
  }
  void WriteByUring() {
    Uring ring(depth_);
    uint32_t under_way = 0;
    for (bool more = true; more || under_way > 0;) {
      uint64_t offset = 0;
      while (more && under_way < depth_ && (more = Take(&offset))) {
        ring.Write(file_.direct_fd(), page_.get(), static_cast<uint32_t>(kFilePageBytes), offset);
        under_way++;
      }
      if (under_way > 0) under_way -= ring.Wait(static_cast<uint32_t>(kFilePageBytes));
    }
  }

  PageFile& file_;
  const std::string way_;
  const uint32_t depth_;
  std::vector<uint64_t> pages_;
  std::unique_ptr<std::byte, Free> page_;  // what is written everywhere
  std::atomic<uint64_t> next_{0};
  std::atomic<uint64_t> running_{0};
  std::atomic<bool> stop_{false};
  uint64_t begin_ns_ = 0;
  uint64_t end_ns_ = 0;
  std::vector<std::thread> threads_;
};

Measured RoundTrips(const std::string& address, Waiting waiting, const Load& load) {
  const Fd connection = Dial(address);
  return RawClient(connection.get(), waiting).Run(load);
}

}  // namespace

void BesideCommand(Options& options) {
  const std::string path = options.Required("file");
  const uint64_t size =
      options.Number("size", uint64_t{1} << 30, kFilePageBytes, uint64_t{1} << 40);
  const std::string way = options.Words("work", "uring", kWorks)[0];
  const auto depth = static_cast<uint32_t>(options.Number(
      "work-depth", way == "pread" ? 16 : 64, 1, way == "pread" ? kThreadsMax : kDepthOfWorkMax));
  const uint64_t seed = options.Number("seed", 1, 0, UINT32_MAX);
  const Waiting waiting = WaitingOf(options, "polling,sleeping");
  const Load load = LoadsOf(options, "read")[0];
  options.Finish();
  const RawServer server("tcp:0", waiting, kAnyCore);
  PageFile file(path, size);
  Work work(file, way, depth, seed);
  const Measured idle = RoundTrips(server.address(), waiting, load);
  work.Start();
  const Measured busy = RoundTrips(server.address(), waiting, load);
  const bool over = work.over();
  work.Stop();
  JsonObject()
      .Add("bench", "beside")
      .Add("work", way)
      .Add("sizeBytes", file.size_bytes())
      .Add("opsPerSecond", static_cast<double>(busy.latency.total()) * 1e9 /
                               static_cast<double>(busy.elapsed_ns))
      .Add("idleP99Us", idle.latency.Quantile(0.99) / 1e3)
      .Add("p50Us", busy.latency.Quantile(0.5) / 1e3)
      .Add("p99Us", busy.latency.Quantile(0.99) / 1e3)
      .Add("pagesPerSecond", work.PagesPerSecond())
      .Add("over", over)
      .Print();
}

}  // namespace farpage::bench
