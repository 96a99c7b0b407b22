// A small test framework for the core: tests register themselves, checks print both sides.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace farpage::test {

using TestBody = void (*)();

// Adds a test to the list that main() runs. Called before main() by FARPAGE_TEST.
bool Register(const char* name, TestBody body);

// Marks the running test as failed. Any thread.
void Fail(const char* file, int line, const std::string& text);

// Marks the running test as skipped, with the reason that is printed. Test thread only.
void Skip(const std::string& reason);

// A value as text: numbers and strings as they are, enums by number, the rest as "?".
template <typename T>
std::string Show(const T& value) {
  if constexpr (std::same_as<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return Show(static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::integral<T>) {
    return std::to_string(value);
  } else if constexpr (requires(std::ostringstream& out) { out << value; }) {
    std::ostringstream out;
    out << value;
    return std::move(out).str();
  } else {
    return "?";
  }
}

// Integers of different signs compare by value; everything else with ==.
template <typename A, typename B>
bool Equal(const A& a, const B& b) {
  constexpr bool kIntegers = std::integral<A> && std::integral<B> && !std::same_as<A, bool> &&
                             !std::same_as<B, bool> && !std::same_as<A, char> &&
                             !std::same_as<B, char>;
  if constexpr (kIntegers) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}

template <typename A, typename B>
void CheckEqual(const A& a, const B& b, const char* text, const char* file, int line) {
  if (!Equal(a, b)) Fail(file, line, std::string(text) + ": " + Show(a) + " is not " + Show(b));
}

}  // namespace farpage::test

// Defines and registers a test. One name in the whole program.
#define FARPAGE_TEST(name)                                                              \
  static void FarpageTest_##name();                                                     \
  [[maybe_unused]] static const bool kRegistered_##name =                               \
      ::farpage::test::Register(#name, &FarpageTest_##name);                            \
  static void FarpageTest_##name()

// Marks the test as failed and goes on.
#define CHECK(condition)                                                          \
  do {                                                                            \
    if (!(condition)) ::farpage::test::Fail(__FILE__, __LINE__, #condition);      \
  } while (false)

// Marks the test as failed and leaves the function: for what later lines rely on.
#define REQUIRE(condition)                                          \
  do {                                                              \
    if (!(condition)) {                                             \
      ::farpage::test::Fail(__FILE__, __LINE__, #condition);        \
      return;                                                       \
    }                                                               \
  } while (false)

// Marks the test as failed, printing both values, and goes on.
#define CHECK_EQ(a, b) \
  ::farpage::test::CheckEqual((a), (b), #a " == " #b, __FILE__, __LINE__)

// Ends the test (a void function) as skipped, with a reason.
#define SKIP(reason)                   \
  do {                                 \
    ::farpage::test::Skip(reason);     \
    return;                            \
  } while (false)
