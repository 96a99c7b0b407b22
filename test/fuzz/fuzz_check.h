// What a fuzz target promises: it holds in every build, and the fuzzer sees it fail.
#pragma once

#include <cstdio>
#include <cstdlib>

#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);         \
      std::abort();                                                                \
    }                                                                              \
  } while (false)
