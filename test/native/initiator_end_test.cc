// How the initiator's streams end: Terminates, broken connections, and peers that lie.
#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "check.h"
#include "fabric/initiator.h"
#include "scripted_peer.h"

namespace {

using namespace farpage;
using namespace farpage::test;

// Two READs in flight, and what the initiator sent for them.
struct TwoReads {
  explicit TwoReads(bool crc = false) : peer(ScriptedPeer::Grant(8, crc)) {
    const std::array<WorkRequest, 2> requests{Read(1, 4096, first), Read(2, 8192, second)};
    peer.initiator->Post(requests);
    peer.initiator->Flush();
    sent = peer.Take();
    reads = ScriptedPeer::Reads(sent);
  }

  // The peer said something that ends the stream: every READ fails alike, once, and nothing was
  // placed outside (or, for a refused segment, inside) their memory.
  void CheckEnded(Code code) {
    const auto done = peer.Completions();
    CHECK_EQ(done.size(), 2u);
    for (const Completion& one : done) CHECK_EQ(CodeName(one.code), std::string(CodeName(code)));
    CHECK(peer.initiator->ended());
    CHECK_EQ(peer.initiator->in_flight(), 0u);
    CHECK(first == Bytes(64) && second == Bytes(64));
    // Later requests fail at once.
    const WorkRequest late = Read(9, 0, first);
    CHECK_EQ(peer.initiator->Post({&late, 1}), 1u);
    const auto after = peer.Completions();
    CHECK(after.size() == 1 && after[0].code == Code::kConnection);
  }

  ScriptedPeer peer;
  Bytes first = Bytes(64);
  Bytes second = Bytes(64);
  Bytes sent;
  std::vector<ReadRequest> reads;
};

std::map<uint64_t, Code> ById(const std::vector<Completion>& done) {
  std::map<uint64_t, Code> codes;
  for (const Completion& one : done) codes[one.id] = one.code;
  return codes;
}

}  // namespace

FARPAGE_TEST(initiator_refuses_answers_that_do_not_fit) {
  struct Lie {
    const char* name;
    uint32_t stag_change;
    int64_t offset_change;
    size_t bytes;
    bool last;
    RdmapOpcode opcode;
  };
  const auto kResponse = RdmapOpcode::kReadResponse;
  const Lie lies[] = {
      {"wrong STag", 1, 0, 64, true, kResponse},
      {"behind the start", 0, 1, 63, true, kResponse},
      {"far behind the end", 0, 0x7FFFFFFF, 64, true, kResponse},
      {"too long", 0, 0, 65, true, kResponse},
      {"longest possible", 0, 0, 65521, true, kResponse},
      {"too long and more to come", 0, 0, 65, false, kResponse},
      {"last too early", 0, 0, 63, true, kResponse},
      {"not last at the end", 0, 0, 64, false, kResponse},
      {"nothing at all", 0, 0, 0, false, kResponse},
      {"slot out of range", 0, int64_t{500} << 32, 64, true, kResponse},
      {"slot not in use", 0, int64_t{5} << 32, 64, true, kResponse},
      {"stale generation", 0, int64_t{1} << 48, 64, true, kResponse},
      {"a WRITE", 0, 0, 64, true, RdmapOpcode::kWrite},
  };
  for (const Lie& lie : lies) {
    TwoReads two;
    REQUIRE(two.reads.size() == 2);
    const ReadRequest& read = two.reads[0];
    two.peer.Say(two.peer.Segment(read.sink_stag + lie.stag_change,
                                  read.sink_offset + static_cast<uint64_t>(lie.offset_change),
                                  Pattern(lie.bytes, 1), lie.last, lie.opcode));
    two.CheckEnded(Code::kProtocol);
  }
}

FARPAGE_TEST(initiator_refuses_a_second_answer) {
  TwoReads two;
  REQUIRE(two.reads.size() == 2);
  const Bytes answer = two.peer.Answer(two.reads[0], Pattern(64, 1));
  two.peer.Say(answer);
  two.peer.Say(answer);
  const auto codes = ById(two.peer.Completions());
  CHECK(codes.at(1) == Code::kOk && codes.at(2) == Code::kProtocol);
  CHECK(two.second == Bytes(64));
}

FARPAGE_TEST(initiator_refuses_a_late_answer_to_an_earlier_user_of_the_slot) {
  TwoReads two;
  REQUIRE(two.reads.size() == 2);
  const Bytes answer = two.peer.Answer(two.reads[0], Pattern(64, 1));
  two.peer.Say(answer);
  CHECK_EQ(two.peer.Completions().size(), 1u);
  Bytes third(64);
  const WorkRequest request = Read(3, 0, third);
  two.peer.initiator->Post({&request, 1});
  two.peer.initiator->Flush();
  const auto reads = ScriptedPeer::Reads(two.peer.Take());
  REQUIRE(reads.size() == 1);
  CHECK_EQ(reads[0].sink_offset >> 32 & 0xFFFF, two.reads[0].sink_offset >> 32 & 0xFFFF);
  two.peer.Say(answer);
  CHECK(ById(two.peer.Completions()).at(3) == Code::kProtocol);
  CHECK(third == Bytes(64));
}

FARPAGE_TEST(initiator_refuses_atomic_answers_out_of_sequence) {
  ScriptedPeer peer;
  const WorkRequest request = FetchAdd(1, 0, 1);
  peer.initiator->Post({&request, 1});
  peer.initiator->Flush();
  const AtomicRequest sent = DecodeAtomicRequest(peer.Take().data() + kUntaggedHeaderBytes);
  peer.Say(peer.AtomicAnswer(2, sent.request_id, 5));
  CHECK(ById(peer.Completions()).at(1) == Code::kOutcomeUnknown);
}

FARPAGE_TEST(initiator_ends_when_the_peer_takes_nothing_more) {
  TwoReads two;
  two.peer.StopReading();
  const WorkRequest request = Read(3, 0, two.first);
  two.peer.initiator->Post({&request, 1});
  two.peer.initiator->Flush();
  const auto codes = ById(two.peer.Completions());
  REQUIRE(codes.size() == 3);
  for (const auto& [id, code] : codes) CHECK(code == Code::kConnection);
  CHECK(two.peer.initiator->ended());
}

FARPAGE_TEST(initiator_refuses_an_overlapping_segment) {
  TwoReads two;
  REQUIRE(two.reads.size() == 2);
  const ReadRequest& read = two.reads[0];
  two.peer.Say(two.peer.Segment(read.sink_stag, read.sink_offset, Pattern(32, 1), false));
  two.peer.Say(two.peer.Segment(read.sink_stag, read.sink_offset + 16, Pattern(48, 1), true));
  const auto codes = ById(two.peer.Completions());
  CHECK(codes.at(1) == Code::kProtocol && codes.at(2) == Code::kProtocol);
  CHECK(two.first[32] == std::byte{0});
}

FARPAGE_TEST(initiator_refuses_foreign_messages) {
  const auto end = [](const auto& say) {
    TwoReads two;
    say(&two.peer);
    two.CheckEnded(Code::kProtocol);
  };
  end([](ScriptedPeer* peer) { peer->Say(peer->AtomicAnswer(1, 0, 1)); });
  end([](ScriptedPeer* peer) { peer->Say(peer->Send(Pattern(8, 1))); });
  end([](ScriptedPeer* peer) { peer->Say(peer->Send(Pattern(4000, 1))); });
  end([](ScriptedPeer* peer) { peer->Say(Bytes(64, std::byte{0})); });
  end([](ScriptedPeer* peer) { peer->Say(Bytes(64, std::byte{0xFF})); });
  end([](ScriptedPeer* peer) {
    Bytes fpdu(kReadRequestFpdu);
    EncodeReadRequest(fpdu.data(), 1, {1, 2, 3, 4, 5});
    peer->Say(fpdu);
  });
}

FARPAGE_TEST(initiator_checks_the_crc_of_every_answer) {
  TwoReads good(true);
  REQUIRE(good.reads.size() == 2);
  good.peer.Say(good.peer.Answer(good.reads[0], Pattern(64, 1)));
  CHECK_EQ(good.peer.Completions().size(), 1u);
  for (const size_t at : {size_t{17}, size_t{79}, size_t{83}}) {
    TwoReads two(true);
    Bytes answer = two.peer.Answer(two.reads[0], Pattern(64, 1));
    answer[at] ^= std::byte{0x10};
    two.peer.Say(answer);
    const auto codes = ById(two.peer.Completions());
    CHECK(codes.at(1) == Code::kProtocol && codes.at(2) == Code::kProtocol);
  }
}

FARPAGE_TEST(initiator_survives_a_hang_up_at_every_byte_of_an_answer) {
  const size_t whole = 84;
  for (size_t cut = 0; cut < whole; ++cut) {
    TwoReads two;
    const Bytes answer = two.peer.Answer(two.reads[0], Pattern(64, 1));
    CHECK_EQ(answer.size(), whole);
    two.peer.Say(std::span(answer).first(cut));
    two.peer.HangUp();
    const auto codes = ById(two.peer.Completions());
    CHECK(codes.size() == 2 && codes.at(1) == Code::kConnection &&
          codes.at(2) == Code::kConnection);
  }
}

FARPAGE_TEST(initiator_terminate_fails_the_named_read_only) {
  struct Case {
    TerminateCode code;
    Code reason;  // kOk: no reason Send
    Code want;
  };
  const Case cases[] = {
      {kTermReadStag, Code::kOk, Code::kStag},
      {kTermReadBounds, Code::kOk, Code::kBounds},
      {kTermReadAccess, Code::kOk, Code::kAccess},
      {kTermLocal, Code::kPageLost, Code::kPageLost},
      {kTermReadStag, Code::kRegionRemoved, Code::kRegionRemoved},
      {kTermRdmapOpcode, Code::kOk, Code::kProtocol},
  };
  for (const Case& one : cases) {
    TwoReads two;
    REQUIRE(two.reads.size() == 2);
    if (one.reason != Code::kOk) {
      two.peer.Say(two.peer.Send(EncodeReason(static_cast<uint8_t>(one.reason))));
    }
    two.peer.Say(two.peer.Terminate(
        one.code, std::span(two.sent).subspan(kReadRequestFpdu, kReadRequestFpdu)));
    const auto done = two.peer.Completions();
    const auto codes = ById(done);
    REQUIRE(codes.size() == 2);
    CHECK_EQ(CodeName(codes.at(2)), std::string(CodeName(one.want)));
    CHECK(codes.at(1) == Code::kConnection);
    for (const Completion& completion : done) {
      CHECK_EQ(completion.terminate, one.code.Packed());
    }
  }
}

FARPAGE_TEST(initiator_terminate_without_a_header_names_nobody) {
  TwoReads two;
  two.peer.Say(two.peer.Terminate(kTermReadStag, {}));
  two.CheckEnded(Code::kConnection);
}

FARPAGE_TEST(initiator_terminate_names_a_write_that_had_completed) {
  ScriptedPeer peer;
  Bytes from(100);
  const std::array<WorkRequest, 4> requests{Write(1, 0, from), Write(2, 4096, from),
                                            Write(3, 8192, from), Read(4, 0, {})};
  peer.initiator->Post(requests);
  peer.initiator->Flush();
  const Bytes sent = peer.Take();
  CHECK_EQ(peer.Completions().size(), 3u);
  peer.Say(peer.Terminate(kTermWriteBounds, std::span(sent).subspan(
                                                FpduBytes(kDdpTaggedBytes + 100), 16)));
  const auto done = peer.Completions();
  const auto codes = ById(done);
  REQUIRE(done.size() == 2);
  CHECK(codes.at(2) == Code::kBounds);
  CHECK(codes.at(4) == Code::kConnection);
}

FARPAGE_TEST(initiator_terminate_never_names_a_fenced_write) {
  ScriptedPeer peer;
  Bytes from(100);
  const std::array<WorkRequest, 3> requests{Write(1, 0, from), Read(2, 0, {}), Write(3, 0, from)};
  peer.initiator->Post(requests);
  peer.initiator->Flush();
  const Bytes sent = peer.Take();
  const size_t write_bytes = FpduBytes(kDdpTaggedBytes + 100);
  const Bytes fence(sent.begin() + static_cast<long>(write_bytes),
                    sent.begin() + static_cast<long>(write_bytes + kReadRequestFpdu));
  peer.Say(peer.Answer(ScriptedPeer::Reads(fence).at(0), {}));
  CHECK_EQ(peer.Completions().size(), 3u);
  peer.Say(peer.Terminate(kTermWriteStag, std::span(sent).first(16)));
  const auto done = peer.Completions();
  REQUIRE(done.size() == 1);
  CHECK(done[0].id == 3 && done[0].code == Code::kStag);
}

FARPAGE_TEST(initiator_atomics_end_unknown_unless_named) {
  ScriptedPeer peer;
  const std::array<WorkRequest, 2> requests{FetchAdd(1, 0, 1), FetchAdd(2, 8, 1)};
  peer.initiator->Post(requests);
  peer.initiator->Flush();
  const Bytes sent = peer.Take();
  peer.Say(peer.Terminate(kTermReadStag, std::span(sent).subspan(kAtomicRequestFpdu)));
  const auto codes = ById(peer.Completions());
  REQUIRE(codes.size() == 2);
  CHECK(codes.at(1) == Code::kOutcomeUnknown);
  CHECK(codes.at(2) == Code::kStag);
}

FARPAGE_TEST(initiator_knows_what_was_never_sent) {
  ScriptedPeer peer(ScriptedPeer::Grant(1), 16);
  Bytes big(4 << 20);
  Bytes small(8);
  const std::array<WorkRequest, 4> requests{Write(1, 0, big), Write(2, 0, small),
                                            FetchAdd(3, 0, 1), Read(4, 0, small)};
  peer.initiator->Post(requests);
  peer.initiator->Flush();
  CHECK(peer.initiator->wants_write());
  peer.HangUp();
  const auto codes = ById(peer.Completions());
  REQUIRE(codes.size() == 4);
  CHECK(codes.at(1) == Code::kOutcomeUnknown);  // a part of it left
  CHECK(codes.at(2) == Code::kConnection);
  CHECK(codes.at(3) == Code::kConnection);
  CHECK(codes.at(4) == Code::kConnection);
}

FARPAGE_TEST(initiator_reads_a_terminate_behind_a_failed_send) {
  ScriptedPeer peer;
  Bytes big(4 << 20);
  Bytes into(8);
  const std::array<WorkRequest, 2> requests{Read(1, 0, into), Write(2, 0, big)};
  peer.initiator->Post(requests);
  peer.initiator->Flush();
  const Bytes sent = peer.Take();
  const Bytes terminate =
      peer.Terminate(kTermReadStag, std::span(sent).first(kReadRequestFpdu));
  // Without Say, which would let the initiator make progress before the hang-up.
  peer.SayUnseen(terminate);
  peer.HangUp();
  const auto codes = ById(peer.Completions());
  REQUIRE(codes.size() == 2);
  CHECK(codes.at(1) == Code::kStag);
  CHECK(codes.at(2) == Code::kOutcomeUnknown);
}
