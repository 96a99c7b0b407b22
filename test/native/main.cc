// Runs the native tests: all, those whose name contains the first argument, or with `--run NAME`
// that one; `--list` prints the names. One line a test: `ok`, `FAIL` or `skip` with the reason.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <vector>

#include "check.h"

namespace farpage::test {
namespace {

struct Test {
  const char* name;
  TestBody body;
};

// The tests and how the running one fares; function-local, as tests register before main().
struct State {
  std::vector<Test> tests;
  std::mutex mutex;  // Fail() may come from any thread of a test
  std::string failures;
  std::string skipped;
};

State& Global() {
  static State state;
  return state;
}

// True when the test passed or was skipped.
bool RunOne(const Test& test) {
  State& state = Global();
  state.failures.clear();
  state.skipped.clear();
  test.body();
  const std::lock_guard lock(state.mutex);
  if (!state.failures.empty()) {
    std::printf("FAIL %s%s\n", test.name, state.failures.c_str());
  } else if (!state.skipped.empty()) {
    std::printf("skip %s: %s\n", test.name, state.skipped.c_str());
  } else {
    std::printf("ok %s\n", test.name);
  }
  std::fflush(stdout);
  return state.failures.empty();
}

int Main(const std::vector<std::string_view>& words) {
  std::vector<Test>& tests = Global().tests;
  std::sort(tests.begin(), tests.end(),
            [](const Test& a, const Test& b) { return std::string_view(a.name) < b.name; });
  if (words.size() == 1 && words[0] == "--list") {
    for (const Test& test : tests) std::printf("%s\n", test.name);
    return 0;
  }
  const bool exact = words.size() == 2 && words[0] == "--run";
  const std::string_view wanted = words.empty() ? std::string_view() : words.back();
  int ran = 0;
  int failed = 0;
  for (const Test& test : tests) {
    const std::string_view name = test.name;
    if (exact ? name != wanted : name.find(wanted) == name.npos) continue;
    ++ran;
    if (!RunOne(test)) ++failed;
  }
  if (ran == 0) std::printf("FAIL no test is named like that\n");
  return ran == 0 || failed > 0 ? 1 : 0;
}

}  // namespace

bool Register(const char* name, TestBody body) {
  Global().tests.push_back({name, body});
  return true;
}

void Fail(const char* file, int line, const std::string& text) {
  State& state = Global();
  const std::lock_guard lock(state.mutex);
  state.failures += "\n  " + std::string(file) + ":" + std::to_string(line) + ": " + text;
}

void Skip(const std::string& reason) { Global().skipped = reason; }

}  // namespace farpage::test

int main(int argc, char** argv) { return farpage::test::Main({argv + 1, argv + argc}); }
