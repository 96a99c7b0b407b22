// Fuzzing the MPA parser and the responder's answer: the first byte says how the rest is cut.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "fabric/mpa_handshake.h"
#include "fuzz_check.h"

namespace farpage::fuzz {

inline void FuzzHandshake(std::span<const std::byte> data) {
  if (data.empty()) return;
  const size_t step = 1 + std::to_integer<size_t>(data[0]) % 64;
  data = data.subspan(1);
  for (const MpaKind kind : {MpaKind::kRequest, MpaKind::kReply}) {
    MpaParser whole(kind);
    const size_t taken = whole.Feed(data);
    FUZZ_CHECK(taken <= data.size() && taken <= kMpaFrameBytesMax);
    FUZZ_CHECK((whole.missing() != 0) == (whole.state() == MpaParser::State::kNeedMore));
    MpaParser cut(kind);
    size_t at = 0;
    while (at < data.size() && cut.state() == MpaParser::State::kNeedMore) {
      const size_t most = std::min({step, cut.missing(), data.size() - at});
      FUZZ_CHECK(cut.Feed(data.subspan(at, most)) == most);
      at += most;
    }
    FUZZ_CHECK(cut.state() == whole.state());
    if (whole.state() != MpaParser::State::kParsed) continue;
    FUZZ_CHECK(at == taken && cut.frame().private_bytes == whole.frame().private_bytes);

    const MpaFrame& frame = whole.frame();
    FUZZ_CHECK(frame.private_bytes <= kMpaPrivateBytesMax);
    RequestPrivate request;
    ReplyPrivate reply;
    DecodeRequestPrivate(frame.private_span(), &request);
    DecodeReplyPrivate(frame.private_span(), &reply);
    if (kind == MpaKind::kReply) continue;
    const MpaAnswer answer = AnswerMpaRequest(frame, {});
    FUZZ_CHECK(answer.accepted != answer.reply.rejected);
    FUZZ_CHECK(!frame.crc || answer.crc);
    FUZZ_CHECK(!answer.accepted || !frame.enhanced || frame.ord == 0 || answer.reply.ird > 0);
    std::array<std::byte, kMpaFrameBytesMax> bytes;
    const uint32_t length = EncodeMpaFrame(MpaKind::kReply, answer.reply, bytes.data());
    MpaParser back(MpaKind::kReply);
    FUZZ_CHECK(back.Feed({bytes.data(), length}) == length);
    FUZZ_CHECK(back.state() == MpaParser::State::kParsed);
    FUZZ_CHECK(back.frame().enhanced == frame.enhanced && back.frame().ird == answer.reply.ird);
  }
}

}  // namespace farpage::fuzz
