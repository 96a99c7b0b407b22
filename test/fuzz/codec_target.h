// Fuzzing the decoders of iwarp_codec.h: any bytes, no harm, and one answer.
#pragma once

#include <array>
#include <cstdlib>
#include <span>

#include "fabric/iwarp_codec.h"
#include "fuzz_check.h"

namespace farpage::fuzz {

inline void FuzzCodec(std::span<const std::byte> data) {
  FpduHeader header;
  const DecodeOutcome outcome = DecodeFpduHeader(data, &header);
  if (outcome.state == DecodeState::kDecoded) {
    FUZZ_CHECK(header.fpdu_bytes() == FpduBytes(header.ulpdu_bytes));
    FUZZ_CHECK(header.fpdu_bytes() % 4 == 0);
    FUZZ_CHECK(data.size() >= header.header_bytes);
  }
  if (outcome.state == DecodeState::kNeedMore) FUZZ_CHECK(data.size() < kUntaggedHeaderBytes);
  if (outcome.state == DecodeState::kViolation) FUZZ_CHECK(outcome.violation.Packed() != 0);

  FpduHeader fast;
  ReadRequest read;
  if (data.size() >= kTaggedHeaderBytes &&
      TryDecodeTagged(data.data(), RdmapOpcode::kReadResponse, &fast)) {
    FUZZ_CHECK(outcome.state == DecodeState::kDecoded);
    FUZZ_CHECK(fast.payload_bytes == header.payload_bytes && fast.stag == header.stag);
  }
  if (data.size() >= kReadRequestFpdu && TryDecodeReadRequest(data.data(), 1, &read)) {
    FUZZ_CHECK(outcome.state == DecodeState::kDecoded && header.msn == 1);
    std::array<std::byte, kReadRequestFpdu> again;
    EncodeReadRequest(again.data(), 1, read);
    // All but the STag to invalidate, which a Read Request does not use, comes back.
    FUZZ_CHECK(std::memcmp(again.data() + 8, data.data() + 8, 40) == 0);
  }

  TerminateMessage terminate;
  const bool understood = DecodeTerminate(data, &terminate);
  FUZZ_CHECK(understood == (data.size() >= kTerminateControlBytes));
  std::array<std::byte, kTerminateFpduMax + 8> fpdu;
  fpdu.fill(std::byte{0x5A});
  const uint32_t bytes = EncodeTerminate(fpdu.data(), kTermTooLong, data);
  FUZZ_CHECK(bytes + kCrcBytes <= kTerminateFpduMax);
  FUZZ_CHECK(fpdu[bytes] == std::byte{0x5A});
  SealFpdu(fpdu.data(), true);
  FpduHeader sent;
  FUZZ_CHECK(DecodeFpduHeader(fpdu, &sent).state == DecodeState::kDecoded);
  FUZZ_CHECK(DecodeTerminate({fpdu.data() + kUntaggedHeaderBytes, sent.payload_bytes}, &terminate));
  FUZZ_CHECK(terminate.code == kTermTooLong);
}

}  // namespace farpage::fuzz
