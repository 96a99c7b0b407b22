// raw_bench: what the machine does without Farpage, for the other side of every ratio. See
// test/bench/README.md.
#include <cerrno>
#include <string_view>

#include "commands.h"
#include "die.h"

int main(int count, char** words) {
  using namespace farpage::raw;
  struct Command {
    std::string_view name;
    void (*run)(Options&);
  };
  constexpr Command kCommands[] = {
      {"serve", ServeCommand}, {"client", ClientCommand}, {"ping-pong", PingPongCommand},
      {"sync", SyncCommand},   {"cold", ColdCommand},     {"touch", TouchCommand},
  };
  const std::string_view wanted = count > 1 ? words[1] : "";
  for (const Command& command : kCommands) {
    if (command.name != wanted) continue;
    Options options(count - 2, words + 2);
    command.run(options);
    return 0;
  }
  errno = 0;
  Die("usage: raw_bench serve|client|ping-pong|sync|cold|touch [--option value]...");
}
