// The one JSON object that a command prints.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

namespace farpage::bench {

// Collects members in order. Names and texts are our own words and are not escaped: they must hold
// neither quotes nor backslashes nor control characters.
class JsonObject {
 public:
  JsonObject& Add(std::string_view name, std::string_view text) {
    return Member(name, '"' + std::string(text) + '"');
  }
  JsonObject& Add(std::string_view name, const char* text) {
    return Add(name, std::string_view(text));
  }
  // Whole numbers as they are; others with six significant digits, null where not finite.
  template <typename T>
    requires std::is_arithmetic_v<T>
  JsonObject& Add(std::string_view name, T value) {
    if constexpr (std::is_same_v<T, bool>) {
      return Member(name, value ? "true" : "false");
    } else if constexpr (std::is_integral_v<T>) {
      return Member(name, std::to_string(value));
    } else {
      char text[32];
      std::snprintf(text, sizeof text, "%.6g", static_cast<double>(value));
      return Member(name, std::isfinite(value) ? text : "null");
    }
  }
  // A finished JSON value: another object, an array, null.
  JsonObject& AddJson(std::string_view name, std::string_view json) {
    return Member(name, std::string(json));
  }

  [[nodiscard]] std::string text() const { return '{' + members_ + '}'; }
  // One line on stdout, at once.
  void Print() const {
    std::puts(text().c_str());
    std::fflush(stdout);
  }

 private:
  JsonObject& Member(std::string_view name, const std::string& json) {
    if (!members_.empty()) members_ += ',';
    members_ += '"' + std::string(name) + "\":" + json;
    return *this;
  }

  std::string members_;
};

// An array of finished JSON values.
class JsonArray {
 public:
  void Add(std::string_view json) {
    if (!items_.empty()) items_ += ',';
    items_ += json;
  }
  [[nodiscard]] std::string text() const { return '[' + items_ + ']'; }

 private:
  std::string items_;
};

}  // namespace farpage::bench
