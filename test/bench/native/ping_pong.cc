// Round trips and streams over a socket: `serve` and `client` for a harness that alternates rounds
// with another program's, `ping-pong` for both ends at once.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "commands.h"
#include "core_pin.h"
#include "endpoint.h"
#include "json_object.h"
#include "raw_client.h"
#include "raw_server.h"

namespace farpage::raw {
namespace {

constexpr uint64_t kMillisecondNs = 1'000'000;
constexpr uint64_t kDurationMsMax = 600'000;

Waiting WaitingOf(Options& options) {
  return options.Words("mode", "polling", "polling,sleeping")[0] == "polling"
             ? Waiting::kPolling
             : Waiting::kSleeping;
}

const char* NameOf(Waiting waiting) {
  return waiting == Waiting::kPolling ? "polling" : "sleeping";
}

// The loads of the cross product of --op, --sizes and --depths.
std::vector<Load> LoadsOf(Options& options) {
  const auto operations = options.Words("op", "read", "read,write");
  const auto sizes = options.Numbers("sizes", "64", 8, kPayloadBytesMax);
  const auto depths = options.Numbers("depths", "1", 1, kDepthMax);
  const uint64_t span = options.Number("span", kAreaBytes, 4096, kAreaBytes);
  const uint64_t duration = options.Number("duration-ms", 500, 1, kDurationMsMax);
  const uint64_t warm_up = options.Number("warm-up-ms", 50, 0, kDurationMsMax);
  std::vector<Load> loads;
  for (const std::string& operation : operations)
    for (const uint64_t size : sizes)
      for (const uint64_t depth : depths)
        loads.push_back({operation == "read" ? Operation::kRead : Operation::kWrite, size, depth,
                         span, duration * kMillisecondNs, warm_up * kMillisecondNs});
  return loads;
}

void PrintMeasured(const std::string& transport, Waiting waiting, const Load& load,
                   const Measured& measured) {
  const double seconds = static_cast<double>(measured.elapsed_ns) / 1e9;
  const auto operations = static_cast<double>(measured.latency.total());
  JsonObject()
      .Add("bench", "ping-pong")
      .Add("transport", transport)
      .Add("mode", NameOf(waiting))
      .Add("op", load.operation == Operation::kRead ? "read" : "write")
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

std::string TransportOf(const std::string& address) {
  return address.substr(0, address.find(':'));
}

void RunClient(const std::string& address, Waiting waiting, const std::vector<Load>& loads) {
  for (const Load& load : loads) {
    // A connection of its own for each load: none inherits the socket buffers another one grew.
    const Fd connection = Dial(address);
    RawClient client(connection.get(), waiting);
    PrintMeasured(TransportOf(address), waiting, load, client.Run(load));
  }
}

[[noreturn]] void ServeForEver(int listener, Waiting waiting) {
  Area area;
  for (;;) {
    const Fd connection = Accept(listener);
    area.Restore();
    ServeConnection(connection.get(), waiting, area);
  }
}

}  // namespace

void ServeCommand(Options& options) {
  const std::string address = options.Text("listen", "tcp:0");
  const Waiting waiting = WaitingOf(options);
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  options.Finish();
  const Fd listener = Listen(address);
  PinToCore(core);
  JsonObject().Add("listening", AddressOf(listener.get(), address)).Print();
  ServeForEver(listener.get(), waiting);
}

void ClientCommand(Options& options) {
  const std::string address = options.Required("connect");
  const Waiting waiting = WaitingOf(options);
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  const std::vector<Load> loads = LoadsOf(options);
  options.Finish();
  PinToCore(core);
  RunClient(address, waiting, loads);
}

void PingPongCommand(Options& options) {
  const auto transports = options.Words("transports", "tcp,unix", "tcp,unix");
  const Waiting waiting = WaitingOf(options);
  const uint64_t server_core = options.Number("server-core", kAnyCore, 0, kAnyCore);
  const uint64_t client_core = options.Number("client-core", kAnyCore, 0, kAnyCore);
  const std::vector<Load> loads = LoadsOf(options);
  options.Finish();
  for (const std::string& transport : transports) {
    const std::string wanted =
        transport == "tcp" ? "tcp:0" : "unix:@raw-bench-" + std::to_string(getpid());
    Fd listener = Listen(wanted);
    const std::string address = AddressOf(listener.get(), wanted);
    const pid_t server = Must(fork(), "fork");
    if (server == 0) {
      Must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");  // ends with the client, however that ends
      PinToCore(server_core);
      ServeForEver(listener.get(), waiting);
    }
    // The client half only: the server was forked before this pin.
    listener.Reset();
    PinToCore(client_core);
    RunClient(address, waiting, loads);
    kill(server, SIGKILL);
    waitpid(server, nullptr, 0);
  }
}

}  // namespace farpage::raw
