#include "bench/options.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "bench/die.h"

namespace farpage::bench {
namespace {

constexpr size_t kListItemsMax = 64;

std::vector<std::string> Split(std::string_view list) {
  std::vector<std::string> items;
  while (!list.empty() && items.size() < kListItemsMax) {
    const size_t comma = std::min(list.find(','), list.size());
    items.emplace_back(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return items;
}

[[noreturn]] void Refuse(std::string_view name, std::string_view value) {
  errno = 0;
  Die(("wrong value for --" + std::string(name) + ": " + std::string(value)).c_str());
}

uint64_t Parse(std::string_view name, const std::string& text, uint64_t least, uint64_t most) {
  char* end = nullptr;
  errno = 0;
  const uint64_t number = std::strtoull(text.c_str(), &end, 10);
  const std::string_view unit = end;
  int shift = 0;
  if (unit == "KiB") shift = 10;
  else if (unit == "MiB") shift = 20;
  else if (unit == "GiB") shift = 30;
  else if (!unit.empty()) Refuse(name, text);
  if (errno != 0 || end == text.c_str() || text[0] == '-' || number > (most >> shift) ||
      (number << shift) < least)
    Refuse(name, text);
  return number << shift;
}

}  // namespace

Options::Options(int count, char** words) {
  for (int at = 0; at < count; at++) {
    const std::string_view word = words[at];
    if (!word.starts_with("--") || at + 1 == count) {
      errno = 0;
      Die(("not an option with a value: " + std::string(word)).c_str());
    }
    options_.push_back({std::string(word.substr(2)), words[++at]});
  }
}

Options::Option* Options::Find(std::string_view name) {
  for (Option& option : options_) {
    if (option.name != name) continue;
    option.used = true;
    return &option;
  }
  return nullptr;
}

std::string Options::Text(std::string_view name, std::string_view fallback) {
  const Option* option = Find(name);
  return option == nullptr ? std::string(fallback) : option->value;
}

std::string Options::Required(std::string_view name) {
  const Option* option = Find(name);
  if (option != nullptr) return option->value;
  errno = 0;
  Die(("missing option --" + std::string(name)).c_str());
}

uint64_t Options::Number(std::string_view name, uint64_t fallback, uint64_t least,
                         uint64_t most) {
  const Option* option = Find(name);
  return option == nullptr ? fallback : Parse(name, option->value, least, most);
}

std::vector<uint64_t> Options::Numbers(std::string_view name, std::string_view fallback,
                                       uint64_t least, uint64_t most) {
  std::vector<uint64_t> numbers;
  for (const std::string& item : Split(Text(name, fallback)))
    numbers.push_back(Parse(name, item, least, most));
  return numbers;
}

std::vector<std::string> Options::Words(std::string_view name, std::string_view fallback,
                                        std::string_view allowed) {
  const std::vector<std::string> known = Split(allowed);
  std::vector<std::string> words = Split(Text(name, fallback));
  for (const std::string& word : words)
    if (std::find(known.begin(), known.end(), word) == known.end()) Refuse(name, word);
  if (words.empty()) Refuse(name, "");
  return words;
}

void Options::Finish() const {
  for (const Option& option : options_) {
    if (option.used) continue;
    errno = 0;
    Die(("unknown option --" + option.name).c_str());
  }
}

}  // namespace farpage::bench
