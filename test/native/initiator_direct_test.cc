// Long answers that come several segments at a time: as foreseen, otherwise, and as lies.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "fabric/dial.h"
#include "scripted_peer.h"

namespace {

using namespace farpage;
using test::Bytes;
using test::Pattern;
using test::ScriptedPeer;

constexpr size_t kAround = 64;
constexpr uint32_t kUsual = 9'000;  // a segment that is received straight into its place

void Append(Bytes* stream, const Bytes& more) {
  stream->insert(stream->end(), more.begin(), more.end());
}

// One long READ, some short ones and atomics behind it, and what answers them.
class LongRead {
 public:
  LongRead(bool crc, size_t length)
      : peer(ScriptedPeer::Grant(8, crc)),
        want(Pattern(length, 7)),
        memory_(length + 2 * kAround, std::byte{0x5A}),
        short_(100) {
    const std::array<WorkRequest, 3> requests{
        test::Read(1, 0, std::span(memory_).subspan(kAround, length)),
        test::Read(2, 0, std::span(short_)), test::FetchAdd(3, 8, 1)};
    peer.initiator->Post(requests);
    peer.initiator->Flush();
    const Bytes sent = peer.Take();
    reads_ = ScriptedPeer::Reads({sent.begin(), sent.begin() + 2 * kReadRequestFpdu});
    const std::byte* const atomic = sent.data() + 2 * kReadRequestFpdu;
    atomic_ = DecodeAtomicRequest(atomic + kUntaggedHeaderBytes).request_id;
  }

  // The next segment of the long answer, `bytes` long or as long as it can be.
  Bytes Next(uint32_t bytes) {
    const uint32_t now = std::min<uint32_t>(bytes, static_cast<uint32_t>(want.size()) - done_);
    const Bytes fpdu =
        peer.Segment(reads_[0].sink_stag, reads_[0].sink_offset + done_,
                     std::span(want).subspan(done_, now), done_ + now == want.size());
    done_ += now;
    return fpdu;
  }
  [[nodiscard]] bool all_said() const { return done_ == want.size(); }
  [[nodiscard]] Bytes Short() const { return peer.Answer(reads_[1], Pattern(100, 3)); }
  [[nodiscard]] Bytes Atomic() const { return peer.AtomicAnswer(1, atomic_, 41); }
  // A segment that is right but for where it says that it belongs.
  [[nodiscard]] Bytes Misplaced(int64_t by) const {
    return peer.Segment(reads_[0].sink_stag,
                        reads_[0].sink_offset + done_ + static_cast<uint64_t>(by),
                        Bytes(kUsual, std::byte{0xEE}), false);
  }

  [[nodiscard]] bool around_untouched() const {
    const auto untouched = [](std::byte byte) { return byte == std::byte{0x5A}; };
    return std::all_of(memory_.begin(), memory_.begin() + kAround, untouched) &&
           std::all_of(memory_.end() - kAround, memory_.end(), untouched);
  }
  [[nodiscard]] bool right() const {
    return std::equal(want.begin(), want.end(), memory_.begin() + kAround);
  }
  [[nodiscard]] bool short_right() const { return short_ == Pattern(100, 3); }

  ScriptedPeer peer;
  const Bytes want;

 private:
  Bytes memory_;
  Bytes short_;
  std::vector<ReadRequest> reads_;
  uint32_t atomic_ = 0;
  uint32_t done_ = 0;
};

// Hands `stream` over in pieces, each of them waiting in the socket before it is looked at.
void Deliver(ScriptedPeer* peer, std::span<const std::byte> stream, std::mt19937* random) {
  while (!stream.empty()) {
    const size_t most = (*random)() % 4 == 0 ? 64 : 60'000;
    const auto piece = stream.first(std::min<size_t>(stream.size(), 1 + (*random)() % most));
    peer->SayUnseen(piece);
    peer->initiator->Progress();
    stream = stream.subspan(piece.size());
  }
}

}  // namespace

FARPAGE_TEST(initiator_direct_takes_many_segments_at_a_time) {
  for (const uint32_t usual : {kUsual, kUsual + 1, kUsual + 2, kUsual + 3}) {
    LongRead read(false, 120'001);
    Bytes stream;
    while (!read.all_said()) Append(&stream, read.Next(usual));
    Append(&stream, read.Short());
    Append(&stream, read.Atomic());
    // Two to learn their size from, then all the others at once.
    const size_t learned = 2 * FpduBytes(kDdpTaggedBytes + usual);
    read.peer.Say(std::span(stream).first(learned));
    read.peer.SayUnseen(std::span(stream).subspan(learned));
    const auto done = read.peer.Completions();
    REQUIRE(done.size() == 3);
    for (const Completion& one : done) CHECK(one.code == Code::kOk);
    CHECK(read.right() && read.short_right() && read.around_untouched());
  }
}

// Segments of other sizes, other answers in between, and every way of cutting the stream.
FARPAGE_TEST(initiator_direct_goes_on_where_it_was_wrong) {
  for (uint32_t seed = 0; seed < 400; ++seed) {
    std::mt19937 random(seed);
    LongRead read(seed % 8 == 0, 100'000 + random() % 30'000);
    Bytes stream;
    bool said_short = false;
    bool said_atomic = false;
    while (!read.all_said()) {
      const auto other = static_cast<uint32_t>(1 + random() % 20'000);
      Append(&stream, read.Next(random() % 4 == 0 ? other : kUsual));
      if (!said_short && random() % 10 == 0) {
        said_short = true;
        Append(&stream, read.Short());
      }
      if (!said_atomic && random() % 10 == 0) {
        said_atomic = true;
        Append(&stream, read.Atomic());
      }
    }
    if (!said_short) Append(&stream, read.Short());
    if (!said_atomic) Append(&stream, read.Atomic());
    Deliver(&read.peer, stream, &random);
    const auto done = read.peer.Completions();
    REQUIRE(done.size() == 3);
    for (const Completion& one : done) CHECK(one.code == Code::kOk);
    CHECK(read.right() && read.short_right() && read.around_untouched());
  }
}

// What was received ahead of a lie has gone into the READ's own memory, and nowhere else.
FARPAGE_TEST(initiator_direct_judges_every_header) {
  constexpr int64_t kFar[] = {-int64_t{kUsual}, -1, 1, kUsual, 1 << 30, int64_t{1} << 40};
  for (const int64_t by : kFar) {
    for (const uint32_t before : {0u, 1u, 2u, 5u}) {
      LongRead read(false, 120'000);
      read.peer.Say(read.Next(kUsual));
      read.peer.Say(read.Next(kUsual));
      Bytes stream;
      for (uint32_t n = 0; n < before; ++n) Append(&stream, read.Next(kUsual));
      Append(&stream, read.Misplaced(by));
      for (int n = 0; n < 4; ++n) Append(&stream, read.Next(kUsual));
      read.peer.SayUnseen(stream);
      const auto done = read.peer.Completions();
      REQUIRE(done.size() == 3);
      CHECK(done[0].code == Code::kProtocol && done[1].code == Code::kProtocol);
      CHECK(read.peer.initiator->end_error().code == Code::kProtocol);
      CHECK(read.around_untouched());
    }
  }
}

FARPAGE_TEST(initiator_direct_hears_a_terminate_between_segments) {
  LongRead read(false, 120'000);
  read.peer.Say(read.Next(kUsual));
  read.peer.Say(read.Next(kUsual));
  Bytes stream = read.Next(kUsual);
  Append(&stream, read.peer.Terminate(kTermLocal, {}));
  Append(&stream, Bytes(30'000, std::byte{0xEE}));
  read.peer.SayUnseen(stream);
  CHECK_EQ(read.peer.Completions().size(), 3u);
  CHECK(read.peer.initiator->end_error().code == Code::kConnection);
  CHECK(read.around_untouched());
}

// Segments are cut for TCP segments where the peer may be an adapter, and as large as they may be
// where both ends are ours.
FARPAGE_TEST(responder_cuts_segments_for_who_receives_them) {
  test::Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(1 << 20, FillValueStore::Value::kZero);
  for (const uint8_t flags : {uint8_t{kFlagReason}, uint8_t{kFlagAnyOrder | kFlagReason}}) {
    const uint64_t deadline = NowNs() + 5'000'000'000;
    auto dialled = DialTcp("127.0.0.1", appliance.port, deadline);
    REQUIRE(dialled.ok());
    const int socket = dialled.value().get();
    MpaAsk ask;
    ask.ticket = appliance.ticket;
    ask.flags = flags;
    REQUIRE(InitiateMpa(socket, ask, deadline).ok());
    std::array<std::byte, kReadRequestFpdu> request{};
    EncodeReadRequest(request.data(), 1, {1, 0, 1 << 20, stag, 0});
    REQUIRE(::send(socket, request.data(), request.size(), MSG_NOSIGNAL) > 0);
    std::array<std::byte, kTaggedHeaderBytes> head{};
    REQUIRE(AwaitEvents(socket, POLLIN, deadline).ok());
    REQUIRE(::recv(socket, head.data(), head.size(), MSG_WAITALL) == ssize_t{kTaggedHeaderBytes});
    FpduHeader header;
    REQUIRE(TryDecodeTagged(head.data(), RdmapOpcode::kReadResponse, &header));
    CHECK_EQ(header.ulpdu_bytes, (flags & kFlagAnyOrder) != 0 ? kUlpduBytesMax
                                                              : MaxUlpduOfSocket(socket));
  }
}
