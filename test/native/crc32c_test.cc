#include "base/crc32c.h"

#include <cstring>
#include <random>
#include <vector>

#include "check.h"

namespace {

using farpage::CopyAndCrc32c;
using farpage::CopyAndCrc32cByTable;
using farpage::Crc32c;
using farpage::Crc32cByTable;

// The definition, one bit at a time (RFC 3720 appendix B.4's polynomial, reversed).
uint32_t Bitwise(uint32_t seed, std::span<const std::byte> bytes) {
  uint32_t crc = ~seed;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78 : crc >> 1;
  }
  return ~crc;
}

std::vector<std::byte> Random(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> data(bytes);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random() & 0xFF);
  return data;
}

// Around each step of the three-way loop: 8 bytes, three blocks of 256, three of 4096.
constexpr size_t kLengths[] = {0,   1,   7,    8,    9,     63,    255,   256,   767,  768,
                               769, 775, 1536, 4095, 12287, 12288, 12289, 13064, 24576, 70001};

}  // namespace

FARPAGE_TEST(crc32c_known_vectors) {
  // RFC 3720 appendix B.4: 32 zero bytes, 32 bytes of ones, 0..31.
  std::vector<std::byte> data(32);
  CHECK_EQ(Crc32c(0, data), 0x8A9136AAu);
  std::memset(data.data(), 0xFF, data.size());
  CHECK_EQ(Crc32c(0, data), 0x62A8AB43u);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  CHECK_EQ(Crc32c(0, data), 0x46DD794Eu);
  CHECK_EQ(Crc32c(0, {}), 0u);
}

FARPAGE_TEST(crc32c_every_way_equals_the_definition) {
  const std::vector<std::byte> data = Random(70010, 1);
  for (const size_t length : kLengths) {
    for (const size_t start : {size_t{0}, size_t{3}}) {
      const std::span<const std::byte> bytes(data.data() + start, length);
      const uint32_t want = Bitwise(0x12345678, bytes);
      CHECK_EQ(Crc32c(0x12345678, bytes), want);
      CHECK_EQ(Crc32cByTable(0x12345678, bytes), want);
    }
  }
}

FARPAGE_TEST(crc32c_copies_exactly_what_it_sums) {
  const std::vector<std::byte> data = Random(70001, 2);
  for (const size_t length : kLengths) {
    std::vector<std::byte> copy(length + 1, std::byte{0x5A});
    CHECK_EQ(CopyAndCrc32c(copy.data(), data.data(), length, 7), Bitwise(7, {data.data(), length}));
    CHECK(std::memcmp(copy.data(), data.data(), length) == 0);
    CHECK_EQ(static_cast<int>(copy[length]), 0x5A);
    CHECK_EQ(CopyAndCrc32cByTable(copy.data(), data.data(), length, 7),
             Bitwise(7, {data.data(), length}));
  }
}

FARPAGE_TEST(crc32c_continues_from_a_seed) {
  const std::vector<std::byte> data = Random(30000, 3);
  const uint32_t whole = Crc32c(0, data);
  for (const size_t cut : {size_t{1}, size_t{13000}, size_t{29999}}) {
    const std::span<const std::byte> all = data;
    CHECK_EQ(Crc32c(Crc32c(0, all.first(cut)), all.subspan(cut)), whole);
  }
}
