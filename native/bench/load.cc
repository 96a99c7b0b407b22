#include "bench/load.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "bench/json_object.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kMillisecondNs = 1'000'000;
constexpr uint64_t kDurationMsMax = 600'000;
constexpr const char* kOperations[] = {"read", "write", "fetch-add", "compare-swap"};
constexpr const char* kWaitings[] = {"polling", "sleeping", "adaptive"};

}  // namespace

uint64_t Places::Next(const Load& load) {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  const uint64_t step = std::max<uint64_t>(64, std::bit_ceil(load.size_bytes));
  return random_ % std::max<uint64_t>(1, load.span_bytes / step) * step;
}

std::vector<Load> LoadsOf(Options& options, std::string_view allowed) {
  const auto operations = options.Words("op", "read", allowed);
  const auto sizes = options.Numbers("sizes", "64", 8, kPayloadBytesMax);
  const auto depths = options.Numbers("depths", "1", 1, kDepthMax);
  Load load;
  load.span_bytes = options.Number("span", kAreaBytes, 4096, kAreaBytes);
  load.duration_ns = options.Number("duration-ms", 500, 1, kDurationMsMax) * kMillisecondNs;
  load.warm_up_ns = options.Number("warm-up-ms", 50, 0, kDurationMsMax) * kMillisecondNs;
  std::vector<Load> loads;
  for (const std::string& operation : operations) {
    const auto* const found = std::find(std::begin(kOperations), std::end(kOperations), operation);
    load.operation = static_cast<Operation>(found - std::begin(kOperations));
    for (const uint64_t size : sizes) {
      for (const uint64_t depth : depths) {
        load.size_bytes = size;
        load.depth = depth;
        loads.push_back(load);
      }
    }
  }
  return loads;
}

Waiting WaitingOf(Options& options, std::string_view allowed) {
  const std::string word = options.Words("mode", "polling", allowed)[0];
  const auto* const found = std::find(std::begin(kWaitings), std::end(kWaitings), word);
  return static_cast<Waiting>(found - std::begin(kWaitings));
}

void PrintMeasured(const char* side, const std::string& address, Waiting waiting,
                   const Load& load, const Measured& measured) {
  const double seconds = static_cast<double>(measured.elapsed_ns) / 1e9;
  const auto operations = static_cast<double>(measured.latency.total());
  JsonObject()
      .Add("bench", "round-trip")
      .Add("side", side)
      .Add("transport", address.substr(0, address.find(':')))
      .Add("mode", kWaitings[static_cast<size_t>(waiting)])
      .Add("op", kOperations[static_cast<size_t>(load.operation)])
      .Add("sizeBytes", load.size_bytes)
      .Add("depth", load.depth)
      .Add("operations", measured.latency.total())
      .Add("elapsedMs", seconds * 1e3)
      .Add("p50Us", measured.latency.Quantile(0.5) / 1e3)
      .Add("p99Us", measured.latency.Quantile(0.99) / 1e3)
      .Add("p999Us", measured.latency.Quantile(0.999) / 1e3)
      .Add("opsPerSecond", operations / seconds)
      .Add("bytesPerSecond", operations * static_cast<double>(load.size_bytes) / seconds)
      .Print();
}

}  // namespace farpage::bench
