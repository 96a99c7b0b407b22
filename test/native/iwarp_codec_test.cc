#include "fabric/iwarp_codec.h"

#include <sys/socket.h>

#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "hex.h"
#include "os/fd.h"

namespace {

using namespace farpage;
using farpage::test::Hex;

bool Same(const std::byte* bytes, const std::vector<std::byte>& want) {
  return std::memcmp(bytes, want.data(), want.size()) == 0;
}

// Traces of Linux's software iWARP (rping between two siw devices, and what siw accepted from us).
const char kReadTrace[] =
    "002e4141 00000000 00000001 00000001 00000000 b8249800 0000563b265a0ae0 00000040 edf21900 "
    "000055b7fc73c440 00000000";
const char kReadWithCrc[] =
    "002e4141 00000000 00000001 00000001 00000000 8eebfe00 00007fe12f8aa000 000003e9 abcdef01 "
    "0000000100000005 29338ad4";
const char kRtrWithCrc[] = "000ec140 00000001 0000000000000000 ebd34c5f";

}  // namespace

FARPAGE_TEST(codec_read_request_equals_the_trace) {
  std::array<std::byte, kReadRequestFpdu> fpdu;
  const ReadRequest request{0xb8249800, 0x0000563b265a0ae0, 0x40, 0xedf21900, 0x000055b7fc73c440};
  EncodeReadRequest(fpdu.data(), 1, request);
  CHECK_EQ(SealFpdu(fpdu.data(), false), 52u);
  CHECK(Same(fpdu.data(), Hex(kReadTrace)));

  ReadRequest decoded;
  REQUIRE(TryDecodeReadRequest(fpdu.data(), 1, &decoded));
  CHECK_EQ(decoded.sink_stag, request.sink_stag);
  CHECK_EQ(decoded.sink_offset, request.sink_offset);
  CHECK_EQ(decoded.size_bytes, request.size_bytes);
  CHECK_EQ(decoded.source_stag, request.source_stag);
  CHECK_EQ(decoded.source_offset, request.source_offset);
  CHECK(!TryDecodeReadRequest(fpdu.data(), 2, &decoded));
}

FARPAGE_TEST(codec_crc_equals_what_siw_accepted) {
  std::array<std::byte, kReadRequestFpdu> read;
  EncodeReadRequest(read.data(), 1, {0x8eebfe00, 0x7fe12f8aa000, 0x3e9, 0xabcdef01, 0x100000005});
  CHECK_EQ(SealFpdu(read.data(), true), 52u);
  CHECK(Same(read.data(), Hex(kReadWithCrc)));
  std::array<std::byte, 20> rtr;
  EncodeTagged(rtr.data(), RdmapOpcode::kWrite, true, 0, 1, 0);
  CHECK_EQ(SealFpdu(rtr.data(), true), 20u);
  CHECK(Same(rtr.data(), Hex(kRtrWithCrc)));
}

FARPAGE_TEST(codec_tagged_and_send_headers_equal_the_trace) {
  std::array<std::byte, 20> header;
  EncodeTagged(header.data(), RdmapOpcode::kReadResponse, true, 64, 0xb8249800, 0x0000563b265a0ae0);
  CHECK(Same(header.data(), Hex("004e c1 42 b8249800 0000563b265a0ae0")));
  FpduHeader decoded;
  CHECK(DecodeFpduHeader({header.data(), 15}, &decoded).state == DecodeState::kNeedMore);
  CHECK(DecodeFpduHeader({header.data(), 16}, &decoded).state == DecodeState::kDecoded);
  CHECK(decoded.tagged && decoded.last);
  CHECK_EQ(decoded.payload_bytes, 64);
  CHECK_EQ(decoded.trailer_bytes, 4);
  CHECK_EQ(decoded.fpdu_bytes(), 84u);
  CHECK_EQ(decoded.tagged_offset, 0x0000563b265a0ae0u);
  CHECK(!TryDecodeTagged(header.data(), RdmapOpcode::kWrite, &decoded));
  EncodeTagged(header.data(), RdmapOpcode::kWrite, false, 64, 0x9f312800, 0x000055b7fc738ae0);
  CHECK(Same(header.data(), Hex("004e 81 40 9f312800 000055b7fc738ae0")));
  EncodeSend(header.data(), 2, 16);
  CHECK(Same(header.data(), Hex("0022 41 43 00000000 00000000 00000002 00000000")));
}

FARPAGE_TEST(codec_atomics_round_trip) {
  std::array<std::byte, kAtomicRequestFpdu> fpdu;
  const AtomicRequest request{kAtomicCompareSwap, 7, 0xabcd0001, 0x1122334455667788, 11, ~0ull,
                              12, ~0ull - 1};
  EncodeAtomicRequest(fpdu.data(), 3, request);
  CHECK_EQ(SealFpdu(fpdu.data(), false), 76u);
  // RFC 7306 figure 5 by hand: opcode, id, STag, TO, swap, swap mask, compare, compare mask.
  CHECK(Same(fpdu.data(), Hex("0046 41 4a 00000000 00000001 00000003 00000000 00000002 00000007 "
                              "abcd0001 1122334455667788 000000000000000b ffffffffffffffff "
                              "000000000000000c fffffffffffffffe")));
  FpduHeader header;
  REQUIRE(DecodeFpduHeader(fpdu, &header).state == DecodeState::kDecoded);
  CHECK_EQ(header.msn, 3u);
  const AtomicRequest back = DecodeAtomicRequest(fpdu.data() + kUntaggedHeaderBytes);
  CHECK_EQ(back.offset, request.offset);
  CHECK_EQ(back.compare_mask, request.compare_mask);
  std::array<std::byte, kAtomicResponseFpdu> response;
  EncodeAtomicResponse(response.data(), 1, {7, 99});
  CHECK(Same(response.data(), Hex("001e 41 4b 00000000 00000003 00000001 00000000 00000007 "
                                  "0000000000000063")));
  const AtomicResponse answer = DecodeAtomicResponse(response.data() + kUntaggedHeaderBytes);
  CHECK_EQ(answer.request_id, 7u);
  CHECK_EQ(answer.old_value, 99u);
}

FARPAGE_TEST(codec_masked_atomics_follow_rfc_7306) {
  CHECK_EQ(ApplyFetchAdd(~0ull, 1, 0), 0u);
  // Two 32-bit fields: the carry out of the lower one is lost.
  CHECK_EQ(ApplyFetchAdd(0x00000001'ffffffff, 1, 0x80000000'80000000), 0x00000001'00000000u);
  CHECK_EQ(ApplyFetchAdd(0x80000000'00000000, 0x80000000'00000002, 1ull << 63), 2u);
  AtomicRequest request;
  request.operand = 0xAB;
  request.mask = 0x0F;
  request.compare = 0x10;
  request.compare_mask = 0xF0;
  CHECK_EQ(ApplyCompareSwap(0x15, request), 0x1Bu);
  CHECK_EQ(ApplyCompareSwap(0x25, request), 0x25u);
}

FARPAGE_TEST(codec_terminate_round_trips_with_the_offending_request) {
  std::array<std::byte, kReadRequestFpdu> read;
  EncodeReadRequest(read.data(), 9, {1, 2, 3, 4, 5});
  std::array<std::byte, kTerminateFpduMax> fpdu;
  const uint32_t bytes = EncodeTerminate(fpdu.data(), kTermReadBounds, read);
  CHECK_EQ(bytes, 72u);
  CHECK(Same(fpdu.data(), Hex("0046 41 47 00000000 00000002 00000001 00000000 01 01 e0 00 002e")));
  TerminateMessage message;
  REQUIRE(DecodeTerminate({fpdu.data() + kUntaggedHeaderBytes, bytes - kUntaggedHeaderBytes},
                          &message));
  CHECK(message.code == kTermReadBounds);
  CHECK(message.has_ddp && message.has_read && !message.mirrored);
  CHECK_EQ(message.ddp.msn, 9u);
  CHECK_EQ(message.read.source_offset, 5u);

  std::array<std::byte, kTaggedHeaderBytes> write;
  EncodeTagged(write.data(), RdmapOpcode::kWrite, true, 100, 0x12345678, 4096);
  const uint32_t short_bytes = EncodeTerminate(fpdu.data(), kTermWriteStag, write);
  CHECK_EQ(short_bytes, 40u);
  REQUIRE(DecodeTerminate({fpdu.data() + kUntaggedHeaderBytes, 20}, &message));
  CHECK(message.has_ddp && message.ddp.tagged && !message.has_read);
  CHECK_EQ(message.ddp.stag, 0x12345678u);
  CHECK_EQ(message.ddp.tagged_offset, 4096u);
  CHECK_EQ(EncodeTerminate(fpdu.data(), kTermMpaCrc, {}), 24u);
}

FARPAGE_TEST(codec_understands_the_mirrored_terminate_of_siw) {
  TerminateMessage message;
  const auto bytes = Hex(
      "10 00 07 00 002e 4141 00000000 00000001 00000001 00000000 "
      "b8249800 0000563b265a0ae0 00000040 edf21900 000055b7fc73c440");
  REQUIRE(DecodeTerminate(bytes, &message));
  CHECK(message.mirrored && message.has_read);
  CHECK(message.code == kTermReadStag);
  CHECK_EQ(message.read.sink_stag, 0xb8249800u);
  const auto write = Hex("11 00 03 00 0040 c140 12345678 0000000000000010");
  REQUIRE(DecodeTerminate(write, &message));
  CHECK(message.code == kTermWriteStag);
  CHECK(message.has_ddp && !message.has_read);
  CHECK_EQ(message.ddp.stag, 0x12345678u);
}

FARPAGE_TEST(codec_terminate_of_any_length_is_safe) {
  const auto whole = Hex(
      "01 01 e0 00 002e 4141 00000000 00000001 00000001 00000000 "
      "b8249800 0000563b265a0ae0 00000040 edf21900 000055b7fc73c440");
  TerminateMessage message;
  for (size_t length = 0; length <= whole.size(); ++length) {
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<long>(length));
    CHECK_EQ(DecodeTerminate(cut, &message), length >= 4);
    CHECK_EQ(length >= 4 && message.has_read, length == whole.size());
  }
}

FARPAGE_TEST(codec_refuses_what_no_peer_may_send) {
  struct Case {
    const char* bytes;
    TerminateCode want;
  };
  const Case cases[] = {
      {"004e c0 42 00000001 0000000000000000", kTermTaggedVersion},
      {"002e 42 41 00000000 00000001 00000001 00000000", kTermUntaggedVersion},
      {"004e c1 82 00000001 0000000000000000", kTermRdmapVersion},
      {"004e c1 43 00000001 0000000000000000", kTermRdmapOpcode},
      {"002e 41 40 00000000 00000001 00000001 00000000", kTermRdmapOpcode},
      {"002e 41 4c 00000000 00000001 00000001 00000000", kTermRdmapOpcode},
      {"002e 41 41 00000000 00000000 00000001 00000000", kTermQueue},
      {"002e 41 41 00000000 00000001 00000001 00000004", kTermOffset},
      {"002e 01 41 00000000 00000001 00000001 00000000", kTermTooLong},
      {"002f 41 41 00000000 00000001 00000001 00000000", kTermTooLong},
      {"002d 41 41 00000000 00000001 00000001 00000000", kTermRdmapUnspecified},
      {"000d c1 42 00000001 0000000000000000", kTermRdmapUnspecified},
      {"0011 41 43 00000000 00000000 00000001 00000000", kTermRdmapUnspecified},
  };
  for (const Case& one : cases) {
    FpduHeader header;
    const DecodeOutcome outcome = DecodeFpduHeader(Hex(one.bytes), &header);
    CHECK(outcome.state == DecodeState::kViolation);
    CHECK_EQ(outcome.violation.Packed(), one.want.Packed());
  }
  // Reserved bits are ignored on receipt.
  FpduHeader header;
  CHECK(DecodeFpduHeader(Hex("004e fd 72 00000001 0000000000000000"), &header).state ==
        DecodeState::kDecoded);
}

FARPAGE_TEST(codec_fast_paths_agree_with_the_long_way) {
  std::mt19937 random(5);
  int fast = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::array<std::byte, kReadRequestFpdu> fpdu;
    EncodeReadRequest(fpdu.data(), 1, {1, 2, 3, 4, 5});
    if (round % 2 == 0) EncodeTagged(fpdu.data(), RdmapOpcode::kReadResponse, true, 30, 1, 2);
    for (int flips = static_cast<int>(random() % 3); flips > 0; --flips) {
      fpdu[random() % 20] ^= static_cast<std::byte>(1u << random() % 8);
    }
    FpduHeader header;
    FpduHeader tagged;
    ReadRequest request;
    const bool lawful = DecodeFpduHeader(fpdu, &header).state == DecodeState::kDecoded;
    const bool response = lawful && header.opcode == RdmapOpcode::kReadResponse;
    CHECK_EQ(TryDecodeTagged(fpdu.data(), RdmapOpcode::kReadResponse, &tagged), response);
    if (response) CHECK_EQ(tagged.payload_bytes, header.payload_bytes);
    if (TryDecodeReadRequest(fpdu.data(), 1, &request)) {
      ++fast;
      CHECK(lawful && header.opcode == RdmapOpcode::kReadRequest && header.msn == 1);
    }
  }
  CHECK(fast > 10'000);
}

FARPAGE_TEST(codec_segments_end_on_boundaries_and_cover_the_message) {
  CHECK_EQ(MaxUlpdu(1460), 1454u);
  CHECK_EQ(MaxUlpdu(1448), 1442u);
  CHECK_EQ(MaxUlpdu(32741), 32734u);
  CHECK_EQ(MaxUlpdu(536 - 500), kUlpduBytesMin);
  CHECK_EQ(MaxUlpdu(1u << 20), kUlpduBytesMax);
  for (const uint32_t max_ulpdu : {kUlpduBytesMin, 1454u, 4110u, 32762u, kUlpduBytesMax}) {
    CHECK_EQ((kFpduLengthBytes + max_ulpdu) % 4 == 0 || max_ulpdu == kUlpduBytesMin, true);
    for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{4095}, uint64_t{1} << 40}) {
      uint64_t at = offset;
      const uint64_t end = offset + 200'000;
      while (at < end) {
        const uint32_t bytes = TaggedSegmentBytes(at, end - at, max_ulpdu, 4096);
        REQUIRE(bytes > 0 && bytes <= max_ulpdu - kDdpTaggedBytes);
        at += bytes;
        if (max_ulpdu > 8192) CHECK(at == end || at % 4096 == 0);
      }
      CHECK_EQ(at, end);
    }
  }
  CHECK_EQ(TaggedSegmentBytes(5, 0, 1454, 4096), 0u);
}

FARPAGE_TEST(codec_unix_sockets_take_the_largest_fpdu) {
  int pair[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const Fd left(pair[0]);
  const Fd right(pair[1]);
  CHECK_EQ(MaxUlpduOfSocket(left.get()), kUlpduBytesMax);
}
