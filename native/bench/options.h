// The command line of farpage_bench: `--name value` pairs and `--name` flags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace farpage::bench {

// Reads options by name; what nobody asked for by the time of Finish() is an error. Every wrong
// value ends the process with a line that names the option.
class Options {
 public:
  Options(int count, char** words);

  // The text of `--name`, or `fallback`.
  std::string Text(std::string_view name, std::string_view fallback);
  // The text of `--name`; ends the process where it is missing.
  std::string Required(std::string_view name);
  // A number in [least, most], with an optional suffix KiB, MiB or GiB.
  uint64_t Number(std::string_view name, uint64_t fallback, uint64_t least, uint64_t most);
  // Numbers separated by commas, as Number takes them; at most 64.
  std::vector<uint64_t> Numbers(std::string_view name, std::string_view fallback, uint64_t least,
                                uint64_t most);
  // Words separated by commas, each of them one of `allowed` (also separated by commas).
  std::vector<std::string> Words(std::string_view name, std::string_view fallback,
                                 std::string_view allowed);
  // Ends the process if an option is left that no call above has asked for.
  void Finish() const;

 private:
  struct Option {
    std::string name;
    std::string value;
    bool used = false;
  };
  Option* Find(std::string_view name);

  std::vector<Option> options_;
};

}  // namespace farpage::bench
