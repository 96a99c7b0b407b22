// One connection of the software RNIC: the responder's half of a queue pair.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "fabric/iwarp_codec.h"
#include "fabric/mpa_handshake.h"
#include "fabric/protection_domain.h"
#include "fabric/send_queue.h"
#include "memory/fault_handler.h"
#include "os/fd.h"

namespace farpage {

// Bytes received and not yet parsed, at most: more than the largest FPDU (65,543).
inline constexpr uint32_t kReceiveBufferBytes = 128 * 1024;
// Bytes one connection moves in one turn, about: some 150 us, which a grace period may wait for
// and other connections of the loop too. With 256 KiB a READ of 1 MiB took 1.4 times the raw one,
// because the pipe runs empty between two sends.
inline constexpr uint64_t kTurnBytesMax = 1024 * 1024;
// READ payloads up to this are copied behind their header; longer ones are gathered from the
// region by sendmsg. Below it the copy costs less than two more pieces.
inline constexpr uint32_t kCopyPayloadMax = 2048;
// WRITE payloads of at least this, not yet received, go from the socket into the region.
inline constexpr uint32_t kDirectPayloadMin = 4096;
// FPDUs behind a waiting WRITE whose pages are asked for ahead, at most: what bounds that turn.
inline constexpr uint32_t kLookAheadMax = 64;
// Pages whose reads one turn starts, at most: some 6 us each. A device works on what it is told of
// together; told one by one, with answers in between, it is idle for a part of the time.
inline constexpr uint32_t kTurnReadsMax = 8;
// The same while others on the loop are polled, who wait for the end of the turn: with two reads
// and the answers to two before them it takes 30 us, four times an answer to one of the others.
inline constexpr uint32_t kTurnReadsShort = 1;
// Turns in a row that leave a read to the next one because they have moved bytes, at most: a
// connection that moves some in every turn, out of other pages, starts its reads all the same.
inline constexpr uint32_t kPutOffsMax = 4;
// Pages that one round of answers leaves to be initialised behind it, at most: what each takes
// (some 3 us) is added to the turn.
inline constexpr uint32_t kLentPagesMax = 16;
// What is received beside such a payload: the trailer and the next header, not its payload.
inline constexpr uint32_t kBulkReceiveBytes = 64;

// What the responder needs of the world around it, shared by all connections of a loop.
struct ResponderContext {
  FaultHandler* pager = nullptr;
  FaultWaiter* waiter = nullptr;
  FillQueue* fills = nullptr;     // the loop's own while it may poll
  uint32_t lane = 0;              // of OperationCounters
  uint64_t window_bytes = 0;      // how far a request faults ahead of what it sends
  uint64_t turn = 0;              // number of the current turn
  uint32_t turn_reads = kTurnReadsMax;  // pages whose reads it may start
};

// Finds who may come in. Thread: any.
class Admission {
 public:
  virtual ~Admission() = default;
  // The domain of a ticket, already entered; fails with kTicket or kQuota.
  virtual Result<std::shared_ptr<ProtectionDomain>> Admit(const Ticket& ticket) = 0;
};

// A port of `farpage export`: everybody comes into one domain, and the MPA reply describes one
// memory region in librpma's layout.
struct ExportPort {
  std::shared_ptr<ProtectionDomain> domain;
  uint32_t stag = 0;
  uint64_t length_bytes = 0;
  bool writable = false;
};

// States: handshake, streaming, draining (a Terminate is on its way), closed. Every method runs
// on the owning event loop's thread; Run() inside a turn. Nothing here blocks.
class Responder {
 public:
  enum class Outcome : uint8_t {
    kIdle,     // nothing more until the socket or a fault says so
    kAgain,    // more to do in the next turn
    kClosed,   // release it
  };

  Responder(Fd socket, uint64_t token, Admission* admission,
            std::shared_ptr<const ExportPort> export_port, ResponderContext* context);
  ~Responder();

  // Moves what can be moved, within the bounds of a turn; MarkReadable and MarkHungUp said before
  // what epoll knows of the socket.
  Outcome Run();

  // A page it waited for has changed.
  void OnWake(const FaultWake& wake);

  [[nodiscard]] int socket() const { return socket_.get(); }
  [[nodiscard]] uint64_t token() const { return token_; }
  [[nodiscard]] bool in_handshake() const { return state_ == State::kHandshake; }
  [[nodiscard]] bool streaming() const { return state_ == State::kStreaming; }
  // Half-way through something that depends on the peer: handshake, draining, half an FPDU.
  [[nodiscard]] bool unsettled() const {
    return state_ != State::kStreaming || received_ != parsed_ || write_.left != 0 ||
           skip_ != 0 || !send_.empty();
  }
  // Waits for pages and for nothing else.
  [[nodiscard]] bool waits_for_fill() const {
    return waits_ != 0 || stalled_ || reached_in_ != nullptr || reached_at_ != nullptr;
  }
  [[nodiscard]] const std::shared_ptr<ProtectionDomain>& domain() const { return domain_; }
  // Has bytes to send that the socket had no room for.
  [[nodiscard]] bool wants_room() const { return socket_full_; }
  void MarkReadable() { readable_ = true; }
  // The peer has said all: read up to the end of the stream.
  void MarkHungUp() { readable_ = hung_up_ = true; }
  // Operations done since the last call; for the loop's statistics.
  uint64_t TakeOperations() { return std::exchange(operations_, 0); }
  uint64_t TakeBytesRead() { return std::exchange(bytes_read_, 0); }
  uint64_t TakeBytesWritten() { return std::exchange(bytes_written_, 0); }
  [[nodiscard]] bool terminated() const { return terminated_; }

 private:
  enum class State : uint8_t { kHandshake, kStreaming, kDraining, kClosed };
  enum class Step : uint8_t { kDone, kBlocked, kWaiting, kAgain, kFailed };
  // A READ or atomic that has not been answered. Bound: the granted depth.
  struct Pending {
    ReadRequest read;
    AtomicRequest atomic;
    uint32_t msn = 0;
    uint32_t done_bytes = 0;
    PageIndex waits_for = 0;
    bool is_atomic = false;
    bool faulted = false;
    bool waiting = false;
    bool prefetched = false;
    Code failed = Code::kOk;  // of want of memory: pages that need none are answered all the same
    std::shared_ptr<Region> waits_in;  // from the wait until the page has been used
    std::shared_ptr<Reservation> waits_at;  // while the region itself has to be reached
  };
  // A page whose bytes were answered and that is not initialised yet; none outlives the answers.
  struct Lent {
    std::shared_ptr<Region> region;
    PageIndex page = 0;
  };
  // The WRITE segment being placed.
  struct Placing {
    uint32_t stag = 0;
    uint32_t left = 0;
    uint64_t offset = 0;
    bool last = false;
    bool faulted = false;
    uint64_t message_bytes = 0;  // of its segments so far
    uint32_t counted = 0;        // the STag that it counts for
  };

  // A page that is lost or absent and that this WRITE covers as a whole, as far as is known: its
  // bytes, until all are here.
  struct Collected {
    uint32_t stag = 0;
    uint64_t offset = 0;  // of the page in the memory region
    uint32_t got = 0;
    bool lost = false;     // it has no other bytes
    bool partly = false;   // the WRITE has turned out to end within it
    bool put = false;      // the pager has its bytes
    std::vector<std::byte> page;  // as long as it is within the region
  };

  // responder.cc: receiving and parsing; responder_session.cc: handshake, sending, Terminate
  void ServeAndFlush();
  bool Receive();
  bool ReceiveInto(std::byte* to, uint32_t bytes, uint32_t* got);
  bool ReceiveDirect();
  void Handshake();
  void Accept(const MpaFrame& request, MpaAnswer answer);
  void Parse();
  bool ParseOne();
  bool ParseUntagged(const FpduHeader& header);
  bool SumIsRight(const FpduHeader& header);
  bool Flush();
  uint32_t Reach(SendPiece& piece);
  void LosePieces(uint32_t count);
  void Terminate(TerminateCode code, Code reason, std::span<const std::byte> offending);
  void Break();

  // responder_serve.cc: requests
  void Serve();
  void Warm(const Pending& pending) const;
  [[nodiscard]] uint64_t WindowBytes(const Region& region) const;
  Step ServeOne(Pending& pending);
  Step ServeRead(Pending& pending);
  Step EmitSegment(Pending& pending, const MemoryRegion& target, const std::byte* from,
                   uint32_t bytes);
  void EmitEmptyResponse(const Pending& pending);
  Step Await(Pending& pending, const MemoryRegion& target, PageRun run, FaultKind kind,
             uint64_t* ready_pages);
  void ServeOutOfOrder();
  void Prefetch();
  bool PutsOffRead();
  void ForgetRequests();
  void FailPending(const Pending& pending, TerminateCode code, Code reason);
  static void Release(std::shared_ptr<Region>& region, PageIndex page);
  static void Yield(Pending& pending);
  void CountOperation(Region& region, bool faulted, uint64_t bytes);

  // responder_atomic.cc
  Step ServeAtomic(Pending& pending);
  Step Execute(const AtomicRequest& request, std::byte* at, uint64_t* old_value);

  // responder_lend.cc: pages that are initialised behind their answer
  const std::byte* Lend(Pending& pending, const MemoryRegion& target, uint64_t offset);
  Step ServeLent(Pending& pending, const MemoryRegion& target, uint64_t offset, uint32_t bytes);
  void SettleLent();

  // responder_reach.cc: regions that have to be allocated first
  Step AwaitRegion(Pending& pending, const MemoryRegion& target);
  void StallAtRegion(const MemoryRegion& target);
  void ReachRegion(const MemoryRegion& target);
  void AskAhead(const MemoryRegion& target, const std::shared_ptr<Reservation>& waited_for);
  void OnReached(const FaultWake& wake);

  // responder_place.cc: WRITE
  bool BeginWrite(const FpduHeader& header, const std::byte* fpdu);
  bool Place(const std::byte* from, uint32_t bytes, uint32_t* placed);
  uint32_t Writable(const MemoryRegion& target, uint64_t offset, uint32_t bytes);
  bool Heal(const MemoryRegion& target, PageIndex page, uint64_t offset);
  [[nodiscard]] bool BringsAll(const MemoryRegion& target, PageIndex page, uint64_t offset) const;
  void Collect(const MemoryRegion& target, PageIndex page, uint64_t offset, bool lost);
  [[nodiscard]] bool GoesOn(const FpduHeader& header) const;
  [[nodiscard]] bool EndsWithin() const;
  [[nodiscard]] bool Spares(const MemoryRegion& target, PageIndex page, uint64_t offset) const;
  void AskAhead(const MemoryRegion& target, const FpduHeader& header);
  bool PlacePart();
  uint32_t PlaceCollected(const MemoryRegion& target, const std::byte* from, uint32_t bytes);
  uint32_t PlaceHere(const MemoryRegion& target, const std::byte* from, uint32_t bytes);
  void StallWrite(const MemoryRegion& target, PageIndex page, const FaultOutcome& outcome);
  void FailWrite(TerminateCode code, Code reason);
  void FinishSegment();
  void LookAhead();

  [[nodiscard]] uint32_t available() const { return received_ - parsed_; }
  [[nodiscard]] const std::byte* at() const { return buffer_.get() + parsed_; }
  Pending& pending(uint32_t index) { return pending_[(first_ + index) % kMpaDepthMax]; }

  Fd socket_;
  const uint64_t token_;
  Admission* admission_;
  std::shared_ptr<const ExportPort> export_port_;
  ResponderContext* context_;
  std::shared_ptr<ProtectionDomain> domain_;
  State state_ = State::kHandshake;
  MpaParser mpa_{MpaKind::kRequest};

  // Negotiated.
  bool crc_ = false;
  bool any_order_ = false;
  bool tells_reason_ = false;
  uint32_t depth_ = 1;
  uint32_t max_ulpdu_ = kUlpduBytesMin;

  // Receiving.
  std::unique_ptr<std::byte[]> buffer_;
  uint32_t received_ = 0;
  uint32_t parsed_ = 0;
  uint32_t skip_ = 0;       // pad and CRC still to come
  bool readable_ = true;
  bool hung_up_ = false;
  bool end_of_stream_ = false;
  bool bulk_ = false;       // the last WRITE was long: receive little beside the payload
  bool stalled_ = false;    // the WRITE waits for a page
  bool looked_ahead_ = false;
  Code write_failed_ = Code::kOk;
  PageIndex stalled_page_ = 0;
  std::shared_ptr<Region> stalled_in_;
  std::shared_ptr<Reservation> stalled_at_;
  Placing write_;
  std::unique_ptr<Collected> collected_;
  std::array<std::byte, kTaggedHeaderBytes> write_header_{};
  uint32_t read_msn_ = 1;
  uint32_t send_msn_ = 1;
  uint32_t atomic_msn_ = 1;

  // Answering.
  std::unique_ptr<Pending[]> pending_;
  uint32_t first_ = 0;
  uint32_t count_ = 0;
  uint32_t waits_ = 0;
  std::array<Lent, kLentPagesMax> lent_;
  uint32_t lent_count_ = 0;
  SendQueue send_;
  // The page that an unsent piece waited for, until it has been sent.
  std::shared_ptr<Region> reached_in_;
  PageIndex reached_page_ = 0;
  std::shared_ptr<Reservation> reached_at_;  // an unsent piece waits for its region
  bool again_ = false;
  bool socket_full_ = false;
  bool blocked_ = false;    // an answer found no room in the send queue
  uint64_t turn_bytes_ = 0;
  uint32_t turn_reads_ = 0;
  bool put_off_ = false;   // this turn has left a read to the next one because it moved bytes
  uint32_t put_offs_ = 0;  // turns in a row that did
  ReadAheadStream stream_;

  bool terminated_ = false;
  uint64_t operations_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t bytes_written_ = 0;
};

}  // namespace farpage
