// farpage_bench: what the machine does without Farpage and what the initiator does, for the two
// sides of every ratio. See test/bench/README.md.
#include <cerrno>
#include <string_view>

#include "bench/commands.h"
#include "bench/die.h"

int main(int count, char** words) {
  using namespace farpage::bench;
  struct Command {
    std::string_view name;
    void (*run)(Options&);
  };
  constexpr Command kCommands[] = {
      {"serve", ServeCommand},         {"client", ClientCommand}, {"ping-pong", PingPongCommand},
      {"initiator", InitiatorCommand}, {"sync", SyncCommand},     {"cold", ColdCommand},
      {"touch", TouchCommand},         {"keep", KeepCommand},     {"pin", PinCommand},
      {"cache", CacheCommand},         {"policy", PolicyCommand}, {"punch", PunchCommand},
      {"decompress", DecompressCommand}, {"beside", BesideCommand},
  };
  const std::string_view wanted = count > 1 ? words[1] : "";
  for (const Command& command : kCommands) {
    if (command.name != wanted) continue;
    Options options(count - 2, words + 2);
    command.run(options);
    return 0;
  }
  errno = 0;
  Die("usage: farpage_bench serve|client|ping-pong|initiator|sync|cold|touch|keep|pin|cache|policy|"
      "punch|decompress|beside [--option value]...");
}
