// Assertions that stay on in release builds: a broken promise ends the process at once, with the
// place and the reason, instead of going on with wrong bytes.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace farpage {

// Prints one line to stderr and aborts. Any thread; allocates nothing.
[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition,
                                     const char* text) {
  std::fprintf(stderr, "%s:%d: %s (%s)\n", file, line, text, condition);
  std::abort();
}

}  // namespace farpage

// Aborts with `text` unless `condition` holds. `text` says what must be true, in plain words.
#define FARPAGE_CHECK(condition, text)                                      \
  do {                                                                      \
    if (!(condition)) [[unlikely]]                                          \
      ::farpage::CheckFailed(__FILE__, __LINE__, #condition, text);         \
  } while (false)
