// `initiator`: Farpage's side of every ratio over a connection, against an appliance that runs.
#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/clock.h"
#include "bench/commands.h"
#include "bench/core_pin.h"
#include "bench/die.h"
#include "bench/initiator_client.h"
#include "bench/json_object.h"
#include "bench/page_file.h"
#include "bench/random_pages.h"
#include "bench/trace.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kConnectNsMax = 10'000'000'000;
constexpr uint64_t kVisitsMax = 10'000'000;

[[noreturn]] void Refuse(const char* what) {
  errno = 0;
  Die(what);
}

Ticket TicketOf(const std::string& text) {
  Ticket ticket{};
  if (text.size() != 2 * ticket.size()) Refuse("--ticket is not 32 hexadecimal digits");
  for (size_t at = 0; at < ticket.size(); at++) {
    char* end = nullptr;
    const std::string digits = text.substr(2 * at, 2);
    ticket[at] = static_cast<uint8_t>(std::strtoul(digits.c_str(), &end, 16));
    if (*end != '\0') Refuse("--ticket is not hexadecimal");
  }
  return ticket;
}

// The door that `tcp:HOST:PORT` or `unix:PATH` names.
InitiatorOptions DoorOf(const std::string& address) {
  InitiatorOptions door;
  if (address.starts_with("unix:")) {
    door.path = address.substr(5);
    return door;
  }
  const size_t colon = address.rfind(':');
  if (!address.starts_with("tcp:") || colon < 5) Refuse("an address is tcp:HOST:PORT or unix:PATH");
  door.host = address.substr(4, colon - 4);
  door.port = static_cast<uint16_t>(std::strtoul(address.c_str() + colon + 1, nullptr, 10));
  return door;
}

// The pages [from, to) of a trace over all of a region.
std::vector<uint64_t> TraceOf(Options& options, const std::string& name, uint64_t size,
                              uint64_t seed) {
  const uint64_t length = options.Number("accesses", 200'000, 1, kVisitsMax);
  const uint64_t from = options.Number("from", 0, 0, length - 1);
  const uint64_t to = options.Number("to", length, from + 1, length);
  std::vector<uint64_t> offsets = MakeTrace(name, size / kFilePageBytes, length, seed);
  offsets.resize(to);
  offsets.erase(offsets.begin(), offsets.begin() + static_cast<ptrdiff_t>(from));
  for (uint64_t& offset : offsets) offset *= kFilePageBytes;
  return offsets;
}

// One page in each of `count` random windows of a region, as `touch` chooses them in a file.
std::vector<uint64_t> VisitsOf(Options& options) {
  const uint64_t count = options.Number("visit", 0, 0, kVisitsMax);
  const uint64_t window_pages =
      options.Number("window", kFilePageBytes, kFilePageBytes, uint64_t{1} << 30) / kFilePageBytes;
  const uint64_t size =
      options.Number("region-size", kAreaBytes, kFilePageBytes, uint64_t{1} << 40);
  const uint64_t seed = options.Number("seed", 1, 0, UINT32_MAX);
  const std::string trace = options.Words("trace", "none", std::string("none,") + kTraces)[0];
  if (trace != "none") return TraceOf(options, trace, size, seed);
  if (count == 0) return {};
  const uint64_t windows = size / kFilePageBytes / window_pages;
  if (windows == 0) Refuse("the region is smaller than a window");
  std::vector<uint64_t> offsets = RandomPages(std::min(count, windows), windows, seed);
  for (uint64_t& offset : offsets)
    offset = (offset * window_pages + offset % window_pages) * kFilePageBytes;
  return offsets;
}

}  // namespace

void InitiatorCommand(Options& options) {
  const std::string address = options.Required("connect");
  InitiatorOptions door = DoorOf(address);
  door.ask.ticket = TicketOf(options.Required("ticket"));
  const auto stag = static_cast<uint32_t>(options.Number("stag", 0, 1, UINT32_MAX));
  const Waiting waiting = WaitingOf(options, "polling,sleeping,adaptive");
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  // fill: make the memory hold the pattern and end; check: it holds it; none: it may hold anything.
  const std::string pattern = options.Words("pattern", "none", "fill,check,none")[0];
  std::vector<uint64_t> visits = VisitsOf(options);
  std::vector<Load> loads = LoadsOf(options, "read,write,fetch-add,compare-swap");
  options.Finish();
  PinToCore(core);
  auto connected = Initiator::Connect(door, NowNs() + kConnectNsMax);
  if (!connected.ok()) {
    errno = connected.error().system_errno;
    Die(CodeName(connected.error().code));
  }
  InitiatorClient client(std::move(connected).value(), stag, waiting);
  if (pattern == "fill") {
    client.Fill(loads[0].span_bytes);
    JsonObject().Add("filledBytes", loads[0].span_bytes).Print();
    return;
  }
  if (pattern == "check") client.ExpectPattern();
  for (Load& load : loads) {
    load.offsets = visits;
    if (visits.empty()) client.Verify(load);
    PrintMeasured("farpage", address, waiting, load, client.Run(load));
  }
}

}  // namespace farpage::bench
