// Fuzzing the initiator's receive path. The input is a script for a peer that answers, lies and
// breaks off; whatever it says, memory around the READs stays as it was and every request ends
// once.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "fuzz_check.h"
#include "scripted_peer.h"

namespace farpage::fuzz {

// Takes numbers from the front of the input; zeros once it is used up.
class Script {
 public:
  explicit Script(std::span<const std::byte> data) : data_(data) {}

  [[nodiscard]] bool done() const { return data_.empty(); }
  uint32_t Number(size_t bytes) {
    uint32_t number = 0;
    for (; bytes > 0 && !data_.empty(); --bytes) {
      number = number << 8 | std::to_integer<uint32_t>(data_[0]);
      data_ = data_.subspan(1);
    }
    return number;
  }
  std::span<const std::byte> Bytes(size_t most) {
    const auto taken = data_.first(std::min(most, data_.size()));
    data_ = data_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::byte> data_;
};

class InitiatorScenario {
 public:
  explicit InitiatorScenario(bool crc)
      : peer_(test::ScriptedPeer::Grant(4, crc)), memory_(kMemoryBytes, kUntouched) {
    uint64_t id = 0;
    for (const size_t length : kLengths) {
      requests_.push_back(test::Read(id++, 0, std::span(memory_).subspan(kGap, length)));
    }
    requests_[1].local = memory_.data() + kSecondAt;
    requests_[2].local = memory_.data() + kThirdAt;
    requests_.push_back(test::FetchAdd(id++, 0, 1));
    requests_.push_back(test::Write(id++, 0, std::span(sent_)));
    peer_.initiator->Post(requests_);
    peer_.initiator->Flush();
    const test::Bytes bytes = peer_.Take();
    // Three READs, then the atomic: what the peer may embed or answer.
    reads_ = test::ScriptedPeer::Reads({bytes.begin(), bytes.begin() + 3 * kReadRequestFpdu});
    atomic_ = DecodeAtomicRequest(bytes.data() + 3 * kReadRequestFpdu + kUntaggedHeaderBytes);
    stream_ = bytes;
  }

  void Play(Script script) {
    while (!script.done() && !peer_.initiator->ended()) Step(&script);
    peer_.HangUp();
    Collect();
    Judge();
  }

 private:
  static constexpr size_t kLengths[] = {64, 60'000, 0};
  static constexpr size_t kGap = 64;
  static constexpr size_t kSecondAt = 1024;
  static constexpr size_t kThirdAt = 512;
  static constexpr size_t kMemoryBytes = 62'528;
  static constexpr uint32_t kSteadyBytes = 9'000;
  static constexpr std::byte kUntouched{0xA5};

  void Step(Script* script) {
    const uint32_t what = script->Number(1);
    const ReadRequest& read = reads_[what / 9 % reads_.size()];
    switch (what % 9) {
      case 0: Say(script->Bytes(1 + script->Number(1))); break;
      case 1: {  // a segment near what fits: where, how long and whether the last is the script's
        const uint32_t shape = script->Number(1);
        const uint32_t offset = shape % 4 == 0 ? script->Number(2) : 0;
        const uint32_t length =
            shape / 4 % 2 == 0 ? script->Number(2) : read.size_bytes + script->Number(1) - 2;
        Say(peer_.Segment(read.sink_stag, read.sink_offset + offset,
                          test::Bytes(length & 0x7FFF, std::byte{1}), shape / 8 % 2 == 0));
        break;
      }
      case 2: Say(peer_.Answer(read, test::Bytes(read.size_bytes, std::byte{2}))); break;
      case 3: Say(peer_.AtomicAnswer(script->Number(1), atomic_.request_id, 5)); break;
      case 4: Say(peer_.Send(EncodeReason(static_cast<uint8_t>(script->Number(1))))); break;
      case 5: {
        const size_t at = script->Number(2) % stream_.size();
        Say(peer_.Terminate(kTermReadBounds, std::span(stream_).subspan(at)));
        break;
      }
      case 6: {  // a lawful answer with one bit turned
        test::Bytes fpdu = peer_.Answer(read, test::Bytes(read.size_bytes, std::byte{3}));
        fpdu[script->Number(2) % fpdu.size()] ^= std::byte(1u << script->Number(1) % 8);
        Say(fpdu);
        break;
      }
      case 7: SaySteadily(script); break;
      default: Collect(); break;
    }
  }

  // Segments of the long READ, where they belong, all of one size and in one go; with something
  // else behind one of them.
  void SaySteadily(Script* script) {
    const uint32_t shape = script->Number(1);
    test::Bytes burst;
    for (uint32_t n = 0; n <= shape % 8; ++n) {
      const uint32_t bytes = std::min<uint32_t>(kSteadyBytes, reads_[1].size_bytes - steadily_);
      const bool last = steadily_ + bytes == reads_[1].size_bytes;
      const test::Bytes fpdu =
          peer_.Segment(reads_[1].sink_stag, reads_[1].sink_offset + steadily_,
                        test::Bytes(bytes, std::byte{4}), last);
      burst.insert(burst.end(), fpdu.begin(), fpdu.end());
      steadily_ += bytes;
      if (n != shape / 8) continue;
      const auto other = script->Bytes(script->Number(1) % 32);
      burst.insert(burst.end(), other.begin(), other.end());
    }
    Say(burst);
  }

  void Say(std::span<const std::byte> bytes) {
    if (!peer_.initiator->ended()) peer_.Say(bytes);
  }

  void Collect() {
    for (const Completion& one : peer_.Completions()) {
      FUZZ_CHECK(one.id < requests_.size());
      ++ends_[one.id];
    }
  }

  void Judge() {
    FUZZ_CHECK(peer_.initiator->in_flight() == 0);
    for (size_t id = 0; id < requests_.size(); ++id) {
      const bool write = requests_[id].opcode == Opcode::kWrite;
      FUZZ_CHECK(ends_[id] == 1 || (write && ends_[id] == 2));
    }
    for (size_t at = 0; at < memory_.size(); ++at) {
      const bool target = (at >= kGap && at < kGap + kLengths[0]) ||
                          (at >= kSecondAt && at < kSecondAt + kLengths[1]);
      FUZZ_CHECK(target || memory_[at] == kUntouched);
    }
  }

  test::ScriptedPeer peer_;
  test::Bytes memory_;
  std::array<std::byte, 40> sent_{};
  std::vector<WorkRequest> requests_;
  std::vector<ReadRequest> reads_;
  AtomicRequest atomic_;
  test::Bytes stream_;
  uint32_t steadily_ = 0;
  std::array<int, 8> ends_{};
};

inline void FuzzInitiator(std::span<const std::byte> data) {
  if (data.empty()) return;
  InitiatorScenario scenario((data[0] & std::byte{1}) != std::byte{0});
  scenario.Play(Script(data.subspan(1)));
}

}  // namespace farpage::fuzz
