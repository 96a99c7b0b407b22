// The fuzz targets over seeded mutations of lawful inputs: short, repeatable, in every build.
#include <algorithm>
#include <random>
#include <vector>

#include "../fuzz/codec_target.h"
#include "../fuzz/handshake_target.h"
#include "../fuzz/initiator_target.h"
#include "check.h"
#include "hex.h"

namespace {

using Bytes = std::vector<std::byte>;
using farpage::test::Hex;

// Changes, drops, doubles and appends bytes; sometimes nothing.
Bytes Mutate(Bytes bytes, std::mt19937* random) {
  for (uint32_t changes = (*random)() % 4; changes > 0; --changes) {
    const size_t at = bytes.empty() ? 0 : (*random)() % bytes.size();
    const auto position = bytes.begin() + static_cast<long>(at);
    switch ((*random)() % 4) {
      case 0:
        if (!bytes.empty()) bytes[at] ^= std::byte(1u << (*random)() % 8);
        break;
      case 1: bytes.erase(position, bytes.end()); break;
      case 2: bytes.insert(position, std::byte((*random)() & 0xFF)); break;
      default: bytes.push_back(std::byte((*random)() & 0xFF)); break;
    }
  }
  return bytes;
}

Bytes Random(size_t most, std::mt19937* random) {
  Bytes bytes((*random)() % most);
  std::generate(bytes.begin(), bytes.end(), [&] { return std::byte((*random)() & 0xFF); });
  return bytes;
}

const char* const kFpdus[] = {
    "002e4141 00000000 00000001 00000001 00000000 b8249800 0000563b265a0ae0 00000040 edf21900 "
    "000055b7fc73c440 00000000",
    "004e c1 42 b8249800 0000563b265a0ae0",
    "0022 41 43 00000000 00000000 00000001 00000000",
    "001e 41 4b 00000000 00000003 00000001 00000000 00000007 0000000000000063",
    "10 00 07 00 002e 4141 00000000 00000001 00000001 00000000 b8249800 0000563b265a0ae0 00000040 "
    "edf21900 000055b7fc73c440",
};
const char* const kFrames[] = {
    "05 4d504120494420526571204672616d65 10 02 0004 0001 0001",
    "00 4d504120494420526571204672616d65 50 02 001c 0080 0080 46504731 01030000 "
    "000102030405060708090a0b0c0d0e0f",
    "11 4d504120494420526570204672616d65 10 02 0010 0080 0000 46504731 01030000 00000080",
};

}  // namespace

FARPAGE_TEST(fuzz_codec) {
  std::mt19937 random(11);
  for (int round = 0; round < 100'000; ++round) {
    farpage::fuzz::FuzzCodec(Mutate(Hex(kFpdus[round % std::size(kFpdus)]), &random));
  }
}

FARPAGE_TEST(fuzz_handshake) {
  std::mt19937 random(12);
  for (int round = 0; round < 50'000; ++round) {
    Bytes bytes = Hex(kFrames[round % std::size(kFrames)]);
    const Bytes more = Random(8, &random);
    bytes.insert(bytes.end(), more.begin(), more.end());
    farpage::fuzz::FuzzHandshake(Mutate(std::move(bytes), &random));
  }
}

FARPAGE_TEST(fuzz_initiator) {
  std::mt19937 random(13);
  for (int round = 0; round < 4000; ++round) farpage::fuzz::FuzzInitiator(Random(40, &random));
}
