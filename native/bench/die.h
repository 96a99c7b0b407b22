// How a benchmark program ends when the machine refuses something: one line, exit code 1.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace farpage::bench {

// Prints `what` with the text of errno (if it is set) and ends the process.
[[noreturn]] inline void Die(const char* what) {
  const int number = errno;
  std::fprintf(stderr, "farpage_bench: %s%s%s\n", what, number == 0 ? "" : ": ",
               number == 0 ? "" : std::strerror(number));
  std::exit(1);
}

// The value of a system call, or the end of the process where it is negative.
template <typename T>
T Must(T value, const char* what) {
  if (value < 0) Die(what);
  return value;
}

}  // namespace farpage::bench
