// The other end of an initiator under test: says exactly what the test tells it, lawful or not.
#pragma once

#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "fabric/initiator.h"

namespace farpage::test {

using Bytes = std::vector<std::byte>;

inline Bytes Pattern(size_t length, uint8_t first) {
  Bytes bytes(length);
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>((first + i) & 0xFF);
  return bytes;
}

// An initiator and its peer on a socket pair, driven by one thread: what one side sends waits in
// the kernel until the other looks.
class ScriptedPeer {
 public:
  ScriptedPeer() : ScriptedPeer(Grant(), 16) {}
  explicit ScriptedPeer(MpaGrant grant, uint32_t slots = 16) : crc_(grant.crc) {
    int pair[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) return;
    peer_ = Fd(pair[1]);
    initiator = Initiator::Adopt(Fd(pair[0]), grant, slots);
  }

  static MpaGrant Grant(uint16_t depth = 8, bool crc = false) {
    return {crc, depth, static_cast<uint8_t>(kFlagAnyOrder | kFlagReason)};
  }

  // All bytes that the initiator has sent and that were not taken yet.
  Bytes Take() {
    Bytes bytes(1 << 20);
    const ssize_t got = ::recv(peer_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }

  // The Read Requests in `bytes`, which holds nothing else.
  static std::vector<ReadRequest> Reads(const Bytes& bytes) {
    std::vector<ReadRequest> reads;
    for (size_t at = 0; at + kReadRequestFpdu <= bytes.size(); at += kReadRequestFpdu) {
      reads.push_back(DecodeReadRequest(bytes.data() + at + kUntaggedHeaderBytes));
    }
    return reads;
  }

  void Say(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) bytes = bytes.subspan(static_cast<size_t>(sent));
      if (initiator != nullptr) initiator->Progress();
    }
  }

  // The same, for what fits the socket, without the initiator looking at it.
  void SayUnseen(std::span<const std::byte> bytes) {
    [[maybe_unused]] const ssize_t sent =
        ::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  // Takes no more requests, but may still answer.
  void StopReading() { ::shutdown(peer_.get(), SHUT_RD); }

  void HangUp() { peer_.Reset(); }

  // One Read Response segment.
  [[nodiscard]] Bytes Segment(uint32_t stag, uint64_t offset, std::span<const std::byte> payload,
                              bool last, RdmapOpcode opcode = RdmapOpcode::kReadResponse) const {
    Bytes fpdu(FpduBytes(static_cast<uint32_t>(kDdpTaggedBytes + payload.size())));
    EncodeTagged(fpdu.data(), opcode, last, static_cast<uint32_t>(payload.size()), stag, offset);
    if (!payload.empty()) {
      std::memcpy(fpdu.data() + kTaggedHeaderBytes, payload.data(), payload.size());
    }
    SealFpdu(fpdu.data(), crc_);
    return fpdu;
  }
  [[nodiscard]] Bytes Answer(const ReadRequest& read, std::span<const std::byte> payload) const {
    return Segment(read.sink_stag, read.sink_offset, payload, true);
  }
  [[nodiscard]] Bytes Send(std::span<const std::byte> payload) const {
    Bytes fpdu(FpduBytes(static_cast<uint32_t>(kDdpUntaggedBytes + payload.size())));
    EncodeSend(fpdu.data(), 1, static_cast<uint32_t>(payload.size()));
    if (!payload.empty()) {
      std::memcpy(fpdu.data() + kUntaggedHeaderBytes, payload.data(), payload.size());
    }
    SealFpdu(fpdu.data(), crc_);
    return fpdu;
  }
  [[nodiscard]] Bytes Terminate(TerminateCode code, std::span<const std::byte> offending) const {
    Bytes fpdu(kTerminateFpduMax);
    fpdu.resize(EncodeTerminate(fpdu.data(), code, offending) + kCrcBytes);
    SealFpdu(fpdu.data(), crc_);
    return fpdu;
  }
  [[nodiscard]] Bytes AtomicAnswer(uint32_t msn, uint32_t id, uint64_t old_value) const {
    Bytes fpdu(kAtomicResponseFpdu);
    EncodeAtomicResponse(fpdu.data(), msn, {id, old_value});
    SealFpdu(fpdu.data(), crc_);
    return fpdu;
  }

  // Everything that has completed.
  std::vector<Completion> Completions() {
    initiator->Progress();
    std::vector<Completion> all(initiator->completions());
    initiator->Poll(all);
    return all;
  }

  std::unique_ptr<Initiator> initiator;

 private:
  bool crc_;
  Fd peer_;
};

inline WorkRequest Read(uint64_t id, uint64_t offset, std::span<std::byte> into) {
  return {id, Opcode::kRead, 0xABCD, offset, static_cast<uint32_t>(into.size()), into.data(), 0, 0};
}
inline WorkRequest Write(uint64_t id, uint64_t offset, std::span<std::byte> from) {
  WorkRequest request = Read(id, offset, from);
  request.opcode = Opcode::kWrite;
  return request;
}
inline WorkRequest FetchAdd(uint64_t id, uint64_t offset, uint64_t add) {
  return {id, Opcode::kFetchAdd, 0xABCD, offset, 8, nullptr, add, 0};
}

}  // namespace farpage::test
