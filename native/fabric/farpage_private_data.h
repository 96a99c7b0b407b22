// The private data of MPA requests and replies between Farpage's own two ends (RFC 5044 section
// 7.1 leaves it to the application). Standard peers of `farpage export` ports never see it.
#pragma once

#include <array>
#include <cstdint>

namespace farpage {

inline constexpr uint32_t kPrivateDataMagic = 0x46504731;  // "FPG1", big-endian on the wire
inline constexpr uint8_t kPrivateDataVersion = 1;

using Ticket = std::array<uint8_t, 16>;

// In the request: magic u32, version u8, flags u8, reserved u16, ticket 16 bytes = 24 bytes.
inline constexpr size_t kRequestPrivateBytes = 24;
// The initiator takes answers in any order (its sink STag and TO identify them).
inline constexpr uint8_t kFlagAnyOrder = 0x01;
// The initiator understands a Send before a Terminate: u32 magic, u8 Code, 11 zero bytes, which
// tells our own code for the failure (a Terminate has only the RFC's).
inline constexpr uint8_t kFlagReason = 0x02;

// In the reply: magic u32, version u8, flags granted u8, status u8 (a Code; not kOk with R set),
// reserved u8, u32 requests outstanding at most = 12 bytes.
inline constexpr size_t kReplyPrivateBytes = 12;
// The reason Send's payload. Wireshark takes any Send for RPC over RDMA at first and calls one of
// less than that protocol's 16-byte header malformed.
inline constexpr size_t kReasonBytes = 16;

}  // namespace farpage
