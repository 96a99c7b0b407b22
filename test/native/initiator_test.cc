// The initiator against a peer that keeps the protocol.
#include "fabric/initiator.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "scripted_peer.h"

namespace {

using namespace farpage;
using namespace farpage::test;

constexpr uint64_t kMillisecondNs = 1'000'000;

}  // namespace

FARPAGE_TEST(initiator_reads_and_matches_answers_in_any_order) {
  ScriptedPeer peer;
  Bytes first(64);
  Bytes second(100);
  const std::array<WorkRequest, 2> requests{Read(1, 4096, first), Read(2, 8192, second)};
  CHECK_EQ(peer.initiator->Post(requests), 2u);
  peer.initiator->Flush();
  const auto reads = ScriptedPeer::Reads(peer.Take());
  REQUIRE(reads.size() == 2);
  CHECK_EQ(reads[0].source_stag, 0xABCDu);
  CHECK_EQ(reads[0].source_offset, 4096u);
  CHECK_EQ(reads[1].size_bytes, 100u);
  peer.Say(peer.Answer(reads[1], Pattern(100, 7)));
  peer.Say(peer.Answer(reads[0], Pattern(64, 9)));
  const auto done = peer.Completions();
  REQUIRE(done.size() == 2);
  CHECK_EQ(done[0].id, 2u);
  CHECK_EQ(done[1].id, 1u);
  CHECK(done[0].code == Code::kOk && done[1].code == Code::kOk);
  CHECK(first == Pattern(64, 9));
  CHECK(second == Pattern(100, 7));
  CHECK_EQ(peer.initiator->in_flight(), 0u);
}

FARPAGE_TEST(initiator_takes_answers_cut_at_every_byte) {
  for (const bool crc : {false, true}) {
    ScriptedPeer peer(ScriptedPeer::Grant(8, crc));
    Bytes into(150);
    const WorkRequest request = Read(1, 0, into);
    peer.initiator->Post({&request, 1});
    peer.initiator->Flush();
    const auto reads = ScriptedPeer::Reads(peer.Take());
    REQUIRE(reads.size() == 1);
    const Bytes want = Pattern(150, 3);
    Bytes stream = peer.Segment(reads[0].sink_stag, reads[0].sink_offset,
                                std::span(want).first(101), false);
    const Bytes rest = peer.Segment(reads[0].sink_stag, reads[0].sink_offset + 101,
                                    std::span(want).subspan(101), true);
    stream.insert(stream.end(), rest.begin(), rest.end());
    for (size_t i = 0; i < stream.size(); ++i) {
      CHECK_EQ(peer.initiator->completions(), 0u);
      peer.Say(std::span(stream).subspan(i, 1));
    }
    const auto done = peer.Completions();
    REQUIRE(done.size() == 1);
    CHECK(done[0].code == Code::kOk);
    CHECK(into == want);
  }
}

FARPAGE_TEST(initiator_places_large_answers_without_a_byte_around_them) {
  for (const bool crc : {false, true}) {
    ScriptedPeer peer(ScriptedPeer::Grant(8, crc));
    constexpr size_t kBytes = 300'001;
    Bytes memory(kBytes + 128, std::byte{0x5A});
    Bytes small(10);
    const std::array<WorkRequest, 2> requests{
        Read(1, 5, std::span(memory).subspan(64, kBytes)), Read(2, 0, small)};
    peer.initiator->Post(requests);
    peer.initiator->Flush();
    const auto reads = ScriptedPeer::Reads(peer.Take());
    REQUIRE(reads.size() == 2);
    const Bytes want = Pattern(kBytes, 1);
    for (size_t at = 0; at < kBytes;) {
      const size_t bytes = std::min<size_t>(kBytes - at, 50'001);
      peer.Say(peer.Segment(reads[0].sink_stag, reads[0].sink_offset + at,
                            std::span(want).subspan(at, bytes), at + bytes == kBytes));
      at += bytes;
    }
    peer.Say(peer.Answer(reads[1], Pattern(10, 5)));
    const auto done = peer.Completions();
    REQUIRE(done.size() == 2);
    CHECK(done[0].code == Code::kOk && done[1].code == Code::kOk);
    CHECK(std::equal(want.begin(), want.end(), memory.begin() + 64));
    CHECK(small == Pattern(10, 5));
    for (size_t i = 0; i < 64; ++i) {
      CHECK_EQ(static_cast<int>(memory[i]), 0x5A);
      CHECK_EQ(static_cast<int>(memory[64 + kBytes + i]), 0x5A);
    }
  }
}

FARPAGE_TEST(initiator_never_exceeds_the_granted_depth) {
  ScriptedPeer peer(ScriptedPeer::Grant(2), 16);
  std::vector<Bytes> into(5, Bytes(8));
  std::vector<WorkRequest> requests;
  for (size_t i = 0; i < into.size(); ++i) requests.push_back(Read(i, i * 8, into[i]));
  CHECK_EQ(peer.initiator->Post(requests), 5u);
  size_t answered = 0;
  while (answered < 5) {
    peer.initiator->Flush();
    const auto reads = ScriptedPeer::Reads(peer.Take());
    CHECK(!reads.empty() && reads.size() <= 2);
    REQUIRE(!reads.empty());
    for (const ReadRequest& read : reads) peer.Say(peer.Answer(read, Pattern(8, 1)));
    answered += peer.Completions().size();
  }
  CHECK_EQ(answered, 5u);
}

FARPAGE_TEST(initiator_takes_no_more_than_its_slots) {
  ScriptedPeer peer(ScriptedPeer::Grant(8), 2);
  Bytes bytes(8);
  const std::vector<WorkRequest> requests(5, Write(1, 0, bytes));
  CHECK_EQ(peer.initiator->Post(requests), 2u);
  peer.initiator->Flush();
  CHECK_EQ(peer.initiator->completions(), 2u);
  CHECK_EQ(peer.initiator->Post(requests), 0u);  // completions not polled hold their slots
  CHECK_EQ(peer.Completions().size(), 2u);
  CHECK_EQ(peer.initiator->Post(requests), 2u);
}

FARPAGE_TEST(initiator_writes_in_segments_that_end_on_pages) {
  for (const bool crc : {false, true}) {
    ScriptedPeer peer(ScriptedPeer::Grant(8, crc));
    Bytes from = Pattern(200'000, 11);
    const WorkRequest request = Write(3, 100, from);
    peer.initiator->Post({&request, 1});
    Bytes stream;
    for (int round = 0; round < 100 && peer.initiator->completions() == 0; ++round) {
      peer.initiator->Flush();
      const Bytes more = peer.Take();
      stream.insert(stream.end(), more.begin(), more.end());
    }
    const Bytes more = peer.Take();
    stream.insert(stream.end(), more.begin(), more.end());
    Bytes placed(from.size());
    size_t at = 0;
    bool last = false;
    while (at < stream.size()) {
      FpduHeader header;
      REQUIRE(TryDecodeTagged(stream.data() + at, RdmapOpcode::kWrite, &header));
      REQUIRE(at + header.fpdu_bytes() <= stream.size() && !last);
      CHECK_EQ(header.stag, 0xABCDu);
      const uint64_t to = header.tagged_offset - 100;
      REQUIRE(to + header.payload_bytes <= placed.size());
      std::copy_n(stream.begin() + static_cast<long>(at) + kTaggedHeaderBytes,
                  header.payload_bytes, placed.begin() + static_cast<long>(to));
      last = header.last;
      CHECK(last || (header.tagged_offset + header.payload_bytes) % 4096 == 0);
      Bytes sealed(stream.begin() + static_cast<long>(at),
                   stream.begin() + static_cast<long>(at + header.fpdu_bytes()));
      SealFpdu(sealed.data(), crc);
      CHECK(std::equal(sealed.begin(), sealed.end(), stream.begin() + static_cast<long>(at)));
      at += header.fpdu_bytes();
    }
    CHECK(last && placed == from);
    const auto done = peer.Completions();
    REQUIRE(done.size() == 1);
    CHECK(done[0].id == 3 && done[0].code == Code::kOk);
  }
}

FARPAGE_TEST(initiator_does_atomics) {
  ScriptedPeer peer;
  const std::array<WorkRequest, 2> requests{
      FetchAdd(1, 8, 5), {2, Opcode::kCompareSwap, 0xABCD, 16, 8, nullptr, 7, 6}};
  peer.initiator->Post(requests);
  peer.initiator->Flush();
  const Bytes bytes = peer.Take();
  REQUIRE(bytes.size() == size_t{2} * kAtomicRequestFpdu);
  const AtomicRequest add = DecodeAtomicRequest(bytes.data() + kUntaggedHeaderBytes);
  const AtomicRequest swap =
      DecodeAtomicRequest(bytes.data() + kAtomicRequestFpdu + kUntaggedHeaderBytes);
  CHECK_EQ(add.operation, kAtomicFetchAdd);
  CHECK_EQ(add.operand, 5u);
  CHECK_EQ(add.mask, 0u);
  CHECK_EQ(swap.operation, kAtomicCompareSwap);
  CHECK(swap.operand == 7 && swap.compare == 6 && ~swap.mask == 0 && ~swap.compare_mask == 0);
  peer.Say(peer.AtomicAnswer(1, add.request_id, 41));
  peer.Say(peer.AtomicAnswer(2, swap.request_id, 6));
  const auto done = peer.Completions();
  REQUIRE(done.size() == 2);
  CHECK(done[0].id == 1 && done[0].old_value == 41 && done[0].code == Code::kOk);
  CHECK(done[1].id == 2 && done[1].old_value == 6 && done[1].code == Code::kOk);
}

FARPAGE_TEST(initiator_judges_requests_before_sending) {
  ScriptedPeer peer;
  Bytes bytes(8);
  WorkRequest wrap = Read(3, ~uint64_t{0} - 3, bytes);
  const std::array<WorkRequest, 4> requests{
      FetchAdd(1, 4, 1),
      {2, Opcode::kRead, 1, 0, 8, nullptr, 0, 0},
      wrap,
      {4, static_cast<Opcode>(9), 1, 0, 0, nullptr, 0, 0}};
  CHECK_EQ(peer.initiator->Post(requests), 4u);
  const auto done = peer.Completions();
  REQUIRE(done.size() == 4);
  CHECK(done[0].code == Code::kAlignment);
  CHECK(done[1].code == Code::kArgument);
  CHECK(done[2].code == Code::kBounds);
  CHECK(done[3].code == Code::kArgument);
  CHECK(peer.Take().empty());
}

FARPAGE_TEST(initiator_fences_with_a_read_of_nothing) {
  ScriptedPeer peer;
  Bytes from(8);
  const std::array<WorkRequest, 2> requests{Write(1, 0, from), Read(2, 0, {})};
  peer.initiator->Post(requests);
  peer.initiator->Flush();
  CHECK_EQ(peer.initiator->completions(), 1u);
  Bytes stream = peer.Take();
  stream.erase(stream.begin(), stream.begin() + FpduBytes(kDdpTaggedBytes + 8));
  const auto reads = ScriptedPeer::Reads(stream);
  REQUIRE(reads.size() == 1);
  CHECK_EQ(reads[0].size_bytes, 0u);
  peer.Say(peer.Answer(reads[0], {}));
  CHECK_EQ(peer.Completions().size(), 2u);
}

FARPAGE_TEST(initiator_wait_ends_in_time) {
  ScriptedPeer peer;
  CHECK(peer.initiator->Wait(0, NowNs() + kMillisecondNs).error().code == Code::kClosed);
  Bytes into(8);
  const WorkRequest request = Read(1, 0, into);
  peer.initiator->Post({&request, 1});
  peer.initiator->Flush();
  const uint64_t start = NowNs();
  CHECK(peer.initiator->Wait(50'000, start + 5 * kMillisecondNs).error().code == Code::kTimeout);
  CHECK(NowNs() - start >= 5 * kMillisecondNs);
  const auto reads = ScriptedPeer::Reads(peer.Take());
  REQUIRE(reads.size() == 1);
  peer.Say(peer.Answer(reads[0], Pattern(8, 1)));
  CHECK(peer.initiator->Wait(0, NowNs() + 1000 * kMillisecondNs).ok());
  CHECK_EQ(peer.initiator->Spin(1'000'000, 1000), 1u);
}

FARPAGE_TEST(initiator_sends_on_when_a_slow_peer_reads) {
  ScriptedPeer peer(ScriptedPeer::Grant(8), 16);
  Bytes from(4 << 20, std::byte{1});
  const WorkRequest request = Write(1, 0, from);
  peer.initiator->Post({&request, 1});
  peer.initiator->Flush();
  CHECK(peer.initiator->wants_write());
  CHECK_EQ(peer.initiator->completions(), 0u);
  size_t bytes = 0;
  for (int round = 0; round < 10'000 && peer.initiator->completions() == 0; ++round) {
    bytes += peer.Take().size();
    peer.initiator->Progress();
  }
  bytes += peer.Take().size();
  CHECK_EQ(peer.initiator->completions(), 1u);
  CHECK(bytes > from.size());
  CHECK(!peer.initiator->wants_write());
}
