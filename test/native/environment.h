// What the environment asks of a long test: FARPAGE_SEED repeats a run, FARPAGE_KILLS and
// FARPAGE_ROUNDS make it longer.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace farpage::test {

inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace farpage::test
