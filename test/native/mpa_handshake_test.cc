#include "fabric/mpa_handshake.h"

#include <cstring>
#include <vector>

#include "check.h"
#include "hex.h"

namespace {

using namespace farpage;
using farpage::test::Hex;

const char kRpingRequest[] = "4d504120494420526571204672616d65 10 02 0004 0001 0001";
const char kRpingReply[] = "4d504120494420526570204672616d65 10 02 0004 0001 0001";

MpaParser::State Parse(MpaParser* parser, const std::vector<std::byte>& bytes) {
  parser->Feed(bytes);
  return parser->state();
}

MpaAnswer Answer(const char* request, const MpaPolicy& policy = {}) {
  MpaParser parser(MpaKind::kRequest);
  CHECK(Parse(&parser, Hex(request)) == MpaParser::State::kParsed);
  return AnswerMpaRequest(parser.frame(), policy);
}

std::vector<std::byte> Encoded(MpaKind kind, const MpaFrame& frame) {
  std::vector<std::byte> bytes(kMpaFrameBytesMax);
  bytes.resize(EncodeMpaFrame(kind, frame, bytes.data()));
  return bytes;
}

}  // namespace

FARPAGE_TEST(mpa_rping_trace_is_answered_as_siw_answers_it) {
  const MpaAnswer answer = Answer(kRpingRequest);
  CHECK(answer.accepted && !answer.crc && !answer.expects_rtr);
  CHECK_EQ(answer.depth, 1);
  CHECK(Encoded(MpaKind::kReply, answer.reply) == Hex(kRpingReply));
}

FARPAGE_TEST(mpa_request_arrives_a_byte_at_a_time_with_private_data) {
  RequestPrivate data;
  data.flags = kFlagAnyOrder | kFlagReason;
  data.ticket = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  auto bytes = Encoded(MpaKind::kRequest, MakeMpaRequest(true, 128, EncodeRequestPrivate(data)));
  CHECK_EQ(bytes.size(), 48u);
  bytes.push_back(std::byte{0xEE});  // the first FPDU's first byte stays with the caller
  MpaParser parser(MpaKind::kRequest);
  size_t taken = 0;
  for (const std::byte& byte : bytes) taken += parser.Feed({&byte, 1});
  CHECK_EQ(taken, 48u);
  REQUIRE(parser.state() == MpaParser::State::kParsed);
  CHECK_EQ(parser.missing(), 0u);
  const MpaFrame& frame = parser.frame();
  CHECK(frame.crc && frame.enhanced && !frame.markers && !frame.peer_to_peer);
  CHECK_EQ(frame.ord, 128);
  CHECK_EQ(frame.ird, 0);
  RequestPrivate back;
  REQUIRE(DecodeRequestPrivate(frame.private_span(), &back));
  CHECK_EQ(back.flags, data.flags);
  CHECK(back.ticket == data.ticket);
  MpaParser whole(MpaKind::kRequest);
  CHECK_EQ(whole.Feed(bytes), 48u);
}

FARPAGE_TEST(mpa_refuses_what_is_no_frame) {
  const char* bad[] = {
      "474554202f20485454502f312e31",                            // GET / HTTP/1.1
      "4d504120494420526570204672616d65 10 02 0004 0001 0001",   // a reply
      "4d504120494420526571204672616d65 10 00 0004 0001 0001",   // revision 0
      "4d504120494420526571204672616d65 10 03 0004 0001 0001",   // revision 3
      "4d504120494420526571204672616d65 00 01 0201",             // 513 bytes
      "4d504120494420526571204672616d65 10 02 0003 000100",      // no room for IRD and ORD
  };
  for (const char* bytes : bad) {
    MpaParser parser(MpaKind::kRequest);
    CHECK(Parse(&parser, Hex(bytes)) == MpaParser::State::kViolation);
    CHECK_EQ(parser.Feed(Hex("00")), 0u);
  }
}

FARPAGE_TEST(mpa_takes_512_private_bytes) {
  MpaFrame frame;
  frame.revision = 1;
  frame.SetPrivate(std::vector<std::byte>(512, std::byte{0x42}));
  const auto bytes = Encoded(MpaKind::kRequest, frame);
  CHECK_EQ(bytes.size(), kMpaFrameBytesMax);
  MpaParser parser(MpaKind::kRequest);
  CHECK(Parse(&parser, bytes) == MpaParser::State::kParsed);
  CHECK_EQ(parser.frame().private_bytes, 512);
}

FARPAGE_TEST(mpa_obeys_the_responder_rules) {
  // Rule 1: S is answered with S and revision 2; revision 1 with a plain revision 1 reply.
  CHECK(Encoded(MpaKind::kReply, Answer("4d504120494420526571204672616d65 00 01 0000").reply) ==
        Hex("4d504120494420526570204672616d65 00 01 0000"));
  CHECK_EQ(Answer("4d504120494420526571204672616d65 00 01 0000").depth, kMpaDepthMax);
  // Rule 2: either side's C turns CRC on.
  CHECK(Answer("4d504120494420526571204672616d65 50 02 0004 0001 0001").crc);
  MpaPolicy with_crc;
  with_crc.crc = true;
  CHECK(Answer(kRpingRequest, with_crc).crc && Answer(kRpingRequest, with_crc).reply.crc);
  // Rule 3: markers are refused with R.
  const MpaAnswer markers = Answer("4d504120494420526571204672616d65 90 02 0004 0001 0001");
  CHECK(!markers.accepted && markers.reply.rejected && markers.refusal == kTermMpaMarker);
  CHECK(!markers.reply.markers);
  // Rule 4: IRD granted up to the policy, 0/0 works, "unsaid" is mirrored.
  MpaPolicy shallow;
  shallow.depth = 16;
  const MpaAnswer deep = Answer("4d504120494420526571204672616d65 10 02 0004 0080 0080", shallow);
  CHECK(deep.accepted && deep.depth == 16 && deep.reply.ird == 16 && deep.reply.ord == 16);
  const MpaAnswer none = Answer("4d504120494420526571204672616d65 10 02 0004 0000 0000");
  CHECK(none.accepted && none.depth == 0 && none.reply.ird == 0);
  const MpaAnswer unsaid = Answer("4d504120494420526571204672616d65 10 02 0004 3fff 3fff");
  CHECK(unsaid.accepted && unsaid.reply.ird == kMpaDepthUnsaid && unsaid.depth == kMpaDepthMax);
}

FARPAGE_TEST(mpa_chooses_a_ready_to_receive_message) {
  // A, with C and D offered as siw does: Write is chosen, A mirrored.
  const MpaAnswer both = Answer("4d504120494420526571204672616d65 10 02 0004 8001 c001");
  CHECK(both.accepted && both.expects_rtr && both.reply.rtr_write && !both.reply.rtr_read);
  CHECK(Encoded(MpaKind::kReply, both.reply) ==
        Hex("4d504120494420526570204672616d65 10 02 0004 8001 8001"));
  CHECK(Answer("4d504120494420526571204672616d65 10 02 0004 8001 4001").reply.rtr_read);
  CHECK(Answer("4d504120494420526571204672616d65 10 02 0004 c001 0001").reply.rtr_send);
  const MpaAnswer nothing = Answer("4d504120494420526571204672616d65 10 02 0004 8001 0001");
  CHECK(!nothing.accepted && nothing.refusal == kTermMpaRtr);
  // Without A the offers mean nothing.
  CHECK(!Answer("4d504120494420526571204672616d65 10 02 0004 4001 c001").expects_rtr);
}

FARPAGE_TEST(mpa_reply_private_data_and_reason_round_trip) {
  const auto bytes = EncodeReplyPrivate({kFlagReason, 14, 64});
  ReplyPrivate data;
  REQUIRE(DecodeReplyPrivate(bytes, &data));
  CHECK_EQ(data.flags, kFlagReason);
  CHECK_EQ(data.status, 14);
  CHECK_EQ(data.depth, 64u);
  CHECK(!DecodeReplyPrivate(std::span(bytes).first(11), &data));
  CHECK(!DecodeReplyPrivate(Hex("000000000000000000000000"), &data));
  uint8_t code = 0;
  CHECK(DecodeReason(EncodeReason(24), &code) && code == 24);
  CHECK(!DecodeReason(Hex("0000000000000000"), &code));
}
