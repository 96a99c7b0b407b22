// Round trips and streams over a socket: `serve` and `client` for a harness that alternates rounds
// with another program's, `ping-pong` for both ends at once.
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "bench/commands.h"
#include "bench/core_pin.h"
#include "bench/endpoint.h"
#include "bench/json_object.h"
#include "bench/load.h"
#include "bench/raw_client.h"
#include "bench/raw_server.h"

namespace farpage::bench {
namespace {

void RunClient(const std::string& address, Waiting waiting, const std::vector<Load>& loads) {
  for (const Load& load : loads) {
    // A connection of its own for each load: none inherits the socket buffers another one grew.
    const Fd connection = Dial(address);
    RawClient client(connection.get(), waiting);
    PrintMeasured("raw", address, waiting, load, client.Run(load));
  }
}

}  // namespace

void ServeCommand(Options& options) {
  const std::string address = options.Text("listen", "tcp:0");
  const Waiting waiting = WaitingOf(options, "polling,sleeping");
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  const bool with_parent = options.Number("end-with-parent", 0, 0, 1) == 1;
  options.Finish();
  if (with_parent) Must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
  const Fd listener = Listen(address);
  PinToCore(core);
  JsonObject().Add("listening", AddressOf(listener.get(), address)).Print();
  ServeForEver(listener.get(), waiting);
}

void ClientCommand(Options& options) {
  const std::string address = options.Required("connect");
  const Waiting waiting = WaitingOf(options, "polling,sleeping");
  const uint64_t core = options.Number("core", kAnyCore, 0, kAnyCore);
  const std::vector<Load> loads = LoadsOf(options, "read,write");
  options.Finish();
  PinToCore(core);
  RunClient(address, waiting, loads);
}

void PingPongCommand(Options& options) {
  const auto transports = options.Words("transports", "tcp,unix", "tcp,unix");
  const Waiting waiting = WaitingOf(options, "polling,sleeping");
  const uint64_t server_core = options.Number("server-core", kAnyCore, 0, kAnyCore);
  const uint64_t client_core = options.Number("client-core", kAnyCore, 0, kAnyCore);
  const std::vector<Load> loads = LoadsOf(options, "read,write");
  options.Finish();
  for (const std::string& transport : transports) {
    const std::string wanted =
        transport == "tcp" ? "tcp:0" : "unix:@farpage-bench-" + std::to_string(getpid());
    const RawServer server(wanted, waiting, server_core);
    // The client half only: the server was forked before this pin, and pins itself.
    PinToCore(client_core);
    RunClient(server.address(), waiting, loads);
  }
}

}  // namespace farpage::bench
