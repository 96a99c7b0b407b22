// What the two foreign clients share: the steps of their command lines, the bytes that they write
// (test/helpers/guest.ts knows the same), and the description of a region in private data.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>

// No client waits longer than this, whatever the appliance does.
constexpr unsigned kDeadlineSeconds = 60;

// `KIND[:NUMBER]…`; a number that is not given is 0.
struct Step {
  std::string kind;
  std::uint64_t numbers[4] = {};

  explicit Step(const char* word) {
    const char* colon = std::strchr(word, ':');
    kind = colon ? std::string(word, colon) : word;
    for (auto& number : numbers) {
      if (!colon) break;
      number = std::strtoull(colon + 1, nullptr, 0);
      colon = std::strchr(colon + 1, ':');
    }
  }
};

inline std::uint8_t PatternByte(std::uint32_t seed, std::uint32_t at) {
  return static_cast<std::uint8_t>(((at ^ seed) * 2654435761U) >> 13);
}

inline void FillPattern(std::span<std::uint8_t> bytes, std::uint32_t seed) {
  for (std::size_t at = 0; at < bytes.size(); ++at)
    bytes[at] = PatternByte(seed, static_cast<std::uint32_t>(at));
}

// FNV-1a, 32 bits.
inline std::uint32_t HashOf(std::span<const std::uint8_t> bytes) {
  std::uint32_t hash = 2166136261U;
  for (const auto byte : bytes) hash = (hash ^ byte) * 16777619U;
  return hash;
}

inline void Report(const Step& step, std::span<const std::uint8_t> bytes) {
  std::printf("%s %llu %zu %08x\n", step.kind.c_str(),
              static_cast<unsigned long long>(step.numbers[0]), bytes.size(), HashOf(bytes));
}
