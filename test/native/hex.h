// Bytes from hexadecimal text, for golden vectors.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace farpage::test {

// Ignores everything that is no hexadecimal digit.
inline std::vector<std::byte> Hex(std::string_view text) {
  std::vector<std::byte> bytes;
  int high = -1;
  for (const char c : text) {
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<std::byte>(high * 16 + digit));
      high = -1;
    }
  }
  return bytes;
}

}  // namespace farpage::test
