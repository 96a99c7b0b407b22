// Connection set-up: the MPA Request and Reply frames of RFC 5044 section 7.1 with the enhanced
// data of RFC 6581 section 6, and the responder's half of the negotiation. Bytes in, bytes out: no
// socket, no allocation. Thread: any, one per object.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fabric/farpage_private_data.h"
#include "fabric/iwarp_wire.h"

namespace farpage {

inline constexpr uint32_t kMpaFrameBytes = 20;
inline constexpr uint32_t kMpaPrivateBytesMax = 512;  // with the 4 enhanced bytes
inline constexpr uint32_t kMpaEnhancedBytes = 4;
inline constexpr uint32_t kMpaFrameBytesMax = kMpaFrameBytes + kMpaPrivateBytesMax;
// IRD and ORD of RFC 6581: 14 bits; all ones leaves the depth to the application.
inline constexpr uint16_t kMpaDepthUnsaid = 0x3FFF;
// Reads outstanding that a stream of ours takes at most (siw's limit as well).
inline constexpr uint16_t kMpaDepthMax = 128;

// One Request or Reply, decoded. `private_bytes` excludes the enhanced bytes.
struct MpaFrame {
  bool markers = false;   // M: the other side must insert markers
  bool crc = false;       // C
  bool rejected = false;  // R, replies only
  bool enhanced = false;  // S with revision 2: the fields down to ord are there
  uint8_t revision = 2;
  bool peer_to_peer = false;  // A
  bool rtr_send = false;      // B: zero-length Send as ready-to-receive
  bool rtr_write = false;     // C of ORD's word: zero-length Write
  bool rtr_read = false;      // D: zero-length Read
  uint16_t ird = 0;
  uint16_t ord = 0;
  uint16_t private_bytes = 0;
  std::array<std::byte, kMpaPrivateBytesMax> private_data{};

  [[nodiscard]] std::span<const std::byte> private_span() const {
    return {private_data.data(), private_bytes};
  }
  // Requires bytes.size() <= kMpaPrivateBytesMax - kMpaEnhancedBytes.
  void SetPrivate(std::span<const std::byte> bytes);
};

enum class MpaKind : uint8_t { kRequest, kReply };

// Writes `frame` to `to` (kMpaFrameBytesMax bytes) and returns its length.
uint32_t EncodeMpaFrame(MpaKind kind, const MpaFrame& frame, std::byte* to);

// Collects one frame from a byte stream that may arrive a byte at a time.
class MpaParser {
 public:
  enum class State : uint8_t {
    kNeedMore,
    kParsed,     // frame() is complete
    kViolation,  // no MPA frame, or an unlawful one: close without an answer
  };

  explicit MpaParser(MpaKind kind) : kind_(kind) {}

  // Takes what belongs to the frame from the front of `bytes` and returns how many bytes that was;
  // what is behind the frame is not taken. A wrong key is a violation at its first wrong byte.
  size_t Feed(std::span<const std::byte> bytes);
  [[nodiscard]] State state() const { return state_; }
  // The bytes that the frame certainly still lacks, for a reader that must not read beyond it: 1
  // or more while kNeedMore, else 0.
  [[nodiscard]] size_t missing() const;
  [[nodiscard]] const MpaFrame& frame() const { return frame_; }

 private:
  void Decode();

  MpaKind kind_;
  State state_ = State::kNeedMore;
  uint32_t have_ = 0;
  std::array<std::byte, kMpaFrameBytesMax> bytes_{};
  MpaFrame frame_{};
};

// What a responder is willing to do.
struct MpaPolicy {
  bool crc = false;  // asks for CRC32C even where the initiator does not
  uint16_t depth = kMpaDepthMax;  // Reads and atomics outstanding at most, 1..kMpaDepthMax
};

// The responder's answer to a request. `reply` lacks only the private data.
struct MpaAnswer {
  bool accepted = false;  // false: `reply` has R set; send it and close
  TerminateCode refusal{};  // why, for the log
  bool crc = false;       // sum and check every FPDU
  uint16_t depth = 0;     // requests outstanding at most; what the reply's IRD grants
  bool expects_rtr = false;  // the first FPDU is a zero-length one whose STag is not to be checked
  MpaFrame reply{};
};

// Applies iwarp.md section 3's responder rules: obeys C, refuses M, answers S with S, grants an IRD
// of at least 1 to a peer with an ORD, chooses one RTR kind (Write, else Read, else Send) for A.
MpaAnswer AnswerMpaRequest(const MpaFrame& request, const MpaPolicy& policy);

// The request that our own initiator sends: revision 2, enhanced, no markers, A clear.
MpaFrame MakeMpaRequest(bool crc, uint16_t depth, std::span<const std::byte> private_data);

// The initiator's private data in a request, and the responder's in a reply (see
// farpage_private_data.h). Encode returns the bytes; Decode is false for anything that is not ours.
struct RequestPrivate {
  uint8_t flags = 0;
  Ticket ticket{};
};
struct ReplyPrivate {
  uint8_t flags = 0;
  uint8_t status = 0;  // a Code, not range-checked
  uint32_t depth = 0;
};
std::array<std::byte, kRequestPrivateBytes> EncodeRequestPrivate(const RequestPrivate& data);
bool DecodeRequestPrivate(std::span<const std::byte> bytes, RequestPrivate* data);
std::array<std::byte, kReplyPrivateBytes> EncodeReplyPrivate(const ReplyPrivate& data);
bool DecodeReplyPrivate(std::span<const std::byte> bytes, ReplyPrivate* data);

// The reason Send's payload: our code for the failure that the following Terminate ends.
std::array<std::byte, kReasonBytes> EncodeReason(uint8_t code);
bool DecodeReason(std::span<const std::byte> bytes, uint8_t* code);

}  // namespace farpage
