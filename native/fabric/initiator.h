// The initiator: one queue pair's active end. It turns work requests into iWARP FPDUs, and what
// comes back into bytes in the caller's memory and completions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bounded_ring.h"
#include "base/result.h"
#include "fabric/adaptive_spin.h"
#include "fabric/gather_queue.h"
#include "fabric/iwarp_codec.h"
#include "fabric/mpa_initiate.h"
#include "fabric/work_request.h"
#include "os/fd.h"

namespace farpage {

struct InitiatorOptions {
  std::string path;  // a Unix socket; or, when empty, host and port
  std::string host;
  uint16_t port = 0;
  MpaAsk ask;
  uint32_t slots = 1024;  // requests without a polled completion at most
};

// One connection. It is driven by its owner alone: nothing happens between calls, no thread of its
// own, no lock, no allocation after Connect. Thread: one at a time; Connect may be another's.
//
// Outcomes. READs and atomics complete when answered. A WRITE completes with kOk when its bytes
// have been handed to the socket; that it was placed is known when a READ (of any length, 0 is a
// fence) or an atomic posted after it completes with kOk. When the stream ends, each request that
// has not completed does: the one that a Terminate names with the reason, READs and what was never
// sent with kConnection (they may be repeated), WRITEs and atomics that were sent at least in part
// with kOutcomeUnknown. A peer that breaks the protocol ends the stream with kProtocol in place of
// kConnection. A WRITE that has completed and that the Terminate names gets a second completion
// with its failure; the other WRITEs not fenced are the caller's to remember.
class Initiator {
 public:
  static constexpr uint32_t kSlotsMax = 4096;
  // Bytes received ahead of parsing.
  static constexpr size_t kReceiveBytes = size_t{128} << 10;
  // What is left of a payload beyond this is received straight into its destination.
  static constexpr uint32_t kDirectBytes = 8 << 10;
  // While payloads of that kind are outstanding, no more than this is received ahead of them.
  static constexpr size_t kPeekBytes = 2 << 10;
  // Segments received ahead of their headers, and their bytes, at most.
  static constexpr size_t kAheadMax = 16;
  static constexpr size_t kAheadBytes = size_t{512} << 10;
  // Room for what was received ahead otherwise than foreseen; untouched until then.
  static constexpr size_t kBufferBytes = kReceiveBytes + kAheadBytes;
  // Payload of a WRITE up to this is copied behind its header instead of gathered.
  static constexpr uint32_t kCopyBytes = 512;
  // Handed-over WRITEs remembered, so that a Terminate can name them.
  static constexpr size_t kUnfencedMax = 1024;
  // Payload of an untagged message that an initiator can have use for (a Terminate or a reason).
  static constexpr uint32_t kUntaggedBytesMax = 128;
  // A receive that may block does so for this long at most.
  static constexpr uint64_t kNapNs = 100'000'000;
  // recv calls of one Progress.
  static constexpr int kReceivesMax = 16;
  // Empty looks at the socket between two looks at the clock.
  static constexpr int kLooksPerClock = 8;
  // How long a Spin goes on while bytes keep coming.
  static constexpr uint64_t kBusyNsMax = 1'000'000;

  // Dials, shakes hands, and takes what was granted.
  // Errors: those of DialUnix, DialTcp and InitiateMpa; kArgument for options out of range.
  static Result<std::unique_ptr<Initiator>> Connect(const InitiatorOptions& options,
                                                    uint64_t deadline_ns);

  // An initiator on a stream socket whose handshake is done. Requires 1 <= slots <= kSlotsMax and a
  // granted depth of 1 or more.
  static std::unique_ptr<Initiator> Adopt(Fd socket, const MpaGrant& grant, uint32_t slots);

  // Takes requests in order, as many as there are free slots, and returns how many that was. They
  // are encoded as far as depth and send queue allow; Flush or Progress sends. What can be judged
  // here fails by completion: kArgument, kAlignment (atomics, 8 bytes), kBounds (offset + length
  // over 2^64), and kConnection once the stream has ended. Memory of a request must stay valid and,
  // for a WRITE, unchanged until its completion has been polled.
  size_t Post(std::span<const WorkRequest> requests);

  // Hands the socket what it takes of everything posted: one sendmsg(2) unless that is too much.
  void Flush();

  // Receives and sends what is possible without blocking; returns completions to poll.
  size_t Progress();

  // Moves completions to the front of `out`; returns how many.
  size_t Poll(std::span<Completion> out);

  // Makes progress until there is a completion: polls for up to `spin_ns` while polling has paid
  // lately, then sleeps in recv(2) or poll(2). Errors: kTimeout at `deadline_ns` (CLOCK_MONOTONIC);
  // kClosed when nothing is in flight that could complete.
  Status Wait(uint64_t spin_ns, uint64_t deadline_ns);

  // Makes progress until nothing is in flight, or nothing has come for `spin_ns`, or for `gap_ns`
  // once there is a completion; never for longer than `spin_ns` and kBusyNsMax together. Returns
  // completions to poll.
  size_t Spin(uint64_t spin_ns, uint64_t gap_ns);

  [[nodiscard]] int socket() const { return socket_.get(); }
  // True while bytes wait for room in the socket: poll for POLLOUT too.
  [[nodiscard]] bool wants_write() const { return !queue_.empty(); }
  [[nodiscard]] bool ended() const { return ended_; }
  // Why the stream ended; kOk while it lives.
  [[nodiscard]] const Error& end_error() const { return end_error_; }
  [[nodiscard]] uint16_t depth() const { return depth_; }
  [[nodiscard]] uint32_t slots() const { return slots_; }
  // Requests taken and not completed; completions not polled.
  [[nodiscard]] size_t in_flight() const { return slots_ - free_count_; }
  [[nodiscard]] size_t completions() const { return completions_.size(); }

 private:
  enum class State : uint8_t { kFree, kWaiting, kSending, kSent };

  struct Op {
    WorkRequest request;
    uint64_t begins_at = 0;   // position in the stream of its first byte
    uint64_t ends_at = 0;     // and behind its last
    uint64_t writes = 0;      // WRITEs encoded before it, itself included
    uint32_t done_bytes = 0;  // READ: received in whole segments; WRITE: encoded
    uint32_t msn = 0;
    uint32_t token = 0;  // generation<<16 | slot: the upper half of the sink TO
    State state = State::kFree;
  };

  // The Read Response segment whose payload is being received.
  struct Segment {
    Op* op = nullptr;
    std::byte* to = nullptr;
    uint32_t left = 0;
    uint32_t payload = 0;
    uint32_t trailer = 0;
    uint32_t crc = 0;
    bool last = false;
  };

  struct Layout;  // where the bytes of one receive go, as far as they can be foreseen

  struct Unfenced {
    uint64_t id = 0;
    uint64_t number = 0;  // its place among the WRITEs
    uint64_t offset = 0;
    uint32_t stag = 0;
    uint32_t length = 0;
  };

  enum class Parse : uint8_t { kNeedMore, kAgain, kEnded };

  Initiator(Fd socket, const MpaGrant& grant, uint32_t slots, uint32_t sink_stag);

  // initiator.cc
  static Code Judge(const WorkRequest& request);
  void Encode();
  bool EncodeWrite(Op* op);
  void EncodeRead(Op* op);
  void EncodeAtomic(Op* op);
  void HandOver();
  Status Sleep(uint64_t deadline_ns);
  void Complete(Op* op, Code code, int32_t terminate, uint64_t old_value);
  void Answer(Op* op, uint64_t old_value);

  // initiator_direct.cc
  ssize_t ReceiveDirect(size_t* asked, int flags);
  void Foresee(Layout* layout);
  void Follow(const Layout& layout, size_t bytes);
  bool Confirm(const iovec& foreseen);
  void PutInLine(const Layout& layout, size_t piece, size_t bytes);

  // initiator_receive.cc
  void Receive(int flags);
  ssize_t ReceiveOnce(size_t* asked, int flags);
  void ParseBuffered();
  Parse ParseHeader();
  Parse ParseSegment();
  Parse BeginSegment(const FpduHeader& header);
  Parse ParseUntagged(const FpduHeader& header);
  bool CrcHolds(const std::byte* fpdu, const FpduHeader& header) const;
  Parse Violate(TerminateCode code, const char* context);

  // initiator_end.cc
  void OnTerminate(std::span<const std::byte> payload);
  Op* FindOffender(const TerminateMessage& message);
  const Unfenced* FindUnfenced(const FpduHeader& ddp) const;
  void End(const Error& error, int32_t terminate);

  Op* OpOfToken(uint32_t token);

  Fd socket_;
  uint32_t slots_;
  uint16_t depth_;
  bool crc_;
  uint8_t flags_;
  uint32_t max_ulpdu_;
  uint32_t sink_stag_;

  std::unique_ptr<Op[]> ops_;
  std::unique_ptr<uint16_t[]> free_;  // a stack, so that few slots stay warm in the cache
  uint32_t free_count_ = 0;
  BoundedRing<uint16_t> waiting_;  // in the order posted; the first may be partly encoded
  BoundedRing<uint16_t> handing_;  // WRITEs encoded and not yet with the socket
  BoundedRing<Completion> completions_;
  BoundedRing<Unfenced> unfenced_;
  GatherQueue queue_;
  uint32_t outstanding_ = 0;  // READs and atomics encoded and not answered
  uint32_t large_ = 0;        // those with more than kDirectBytes to come
  uint32_t msn_ = 0;          // of the last request on queue 1
  uint32_t answer_msn_ = 0;   // of the last Atomic Response
  uint64_t received_bytes_ = 0;
  uint64_t writes_ = 0;
  uint64_t fenced_ = 0;  // WRITEs known to be placed

  std::unique_ptr<std::byte[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  Segment segment_;
  // Payload of the last segment that did not end its READ; the same, if the one before had as much.
  uint32_t previous_bytes_ = 0;
  uint32_t steady_bytes_ = 0;
  Code reason_ = Code::kOk;
  bool send_failed_ = false;
  bool ended_ = false;
  Error end_error_{Code::kOk, 0, ""};
  AdaptiveSpin spin_;
};

}  // namespace farpage
