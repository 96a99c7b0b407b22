// How a stream ends: whose fault it was, and what becomes of everything in flight.
#include "fabric/initiator.h"
#include "fabric/terminate_reason.h"

namespace farpage {
namespace {

bool Covers(uint64_t offset, uint32_t length, uint64_t at) {
  return at >= offset && (at - offset < length || at == offset);
}

}  // namespace

void Initiator::OnTerminate(std::span<const std::byte> payload) {
  TerminateMessage message;
  if (!DecodeTerminate(payload, &message)) {
    return End({Code::kProtocol, 0, "a Terminate without a code"}, -1);
  }
  const int32_t packed = message.code.Packed();
  const bool of_write =
      message.has_ddp && message.ddp.tagged && message.ddp.opcode == RdmapOpcode::kWrite;
  const Unfenced* const written = of_write ? FindUnfenced(message.ddp) : nullptr;
  if (written != nullptr) {
    const Code code = reason_ != Code::kOk ? reason_ : CodeOfTerminate(message.code, false);
    completions_.Push({written->id, code, packed, 0});
  } else if (Op* const op = FindOffender(message); op != nullptr) {
    const bool atomic =
        op->request.opcode != Opcode::kRead && op->request.opcode != Opcode::kWrite;
    Complete(op, reason_ != Code::kOk ? reason_ : CodeOfTerminate(message.code, atomic), packed, 0);
  }
  End({Code::kConnection, 0, "Terminate"}, packed);
}

// The oldest handed-over WRITE that the offending segment may belong to and that no answer fenced.
const Initiator::Unfenced* Initiator::FindUnfenced(const FpduHeader& ddp) const {
  for (size_t i = 0; i < unfenced_.size(); ++i) {
    const Unfenced& write = unfenced_.At(i);
    if (write.number > fenced_ && write.stag == ddp.stag &&
        Covers(write.offset, write.length, ddp.tagged_offset)) {
      return &write;
    }
  }
  return nullptr;
}

// The request in flight whose header a Terminate embeds, or null. A Read is known by the sink that
// we chose for it, an atomic (and a Read whose header was cut off) by its MSN.
Initiator::Op* Initiator::FindOffender(const TerminateMessage& message) {
  if (!message.has_ddp) return nullptr;
  const FpduHeader& ddp = message.ddp;
  if (message.has_read) {
    Op* const op = OpOfToken(static_cast<uint32_t>(message.read.sink_offset >> 32));
    return op != nullptr && op->request.opcode == Opcode::kRead &&
                   message.read.sink_stag == sink_stag_ &&
                   message.read.source_stag == op->request.stag &&
                   message.read.source_offset == op->request.remote_offset &&
                   message.read.size_bytes == op->request.length_bytes
               ? op
               : nullptr;
  }
  Op* oldest = nullptr;
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    Op* const op = &ops_[slot];
    if (op->state != State::kSent && op->state != State::kSending) continue;
    const bool match = op->request.opcode == Opcode::kWrite
                           ? ddp.tagged && ddp.opcode == RdmapOpcode::kWrite &&
                                 ddp.stag == op->request.stag &&
                                 Covers(op->request.remote_offset, op->request.length_bytes,
                                        ddp.tagged_offset)
                           : !ddp.tagged && ddp.queue == kQueueReadRequest && ddp.msn == op->msn;
    if (match && (oldest == nullptr || op->begins_at < oldest->begins_at)) oldest = op;
  }
  return oldest;
}

// Ends the stream and everything in flight. Idempotent.
void Initiator::End(const Error& error, int32_t terminate) {
  if (ended_) return;
  ended_ = true;
  end_error_ = error;
  const Code lost = error.code == Code::kProtocol ? Code::kProtocol : Code::kConnection;
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    Op* const op = &ops_[slot];
    if (op->state == State::kFree) continue;
    const bool partly_sent = op->state != State::kWaiting && op->begins_at < queue_.sent();
    const bool repeatable = op->request.opcode == Opcode::kRead || !partly_sent;
    Complete(op, repeatable ? lost : Code::kOutcomeUnknown, terminate, 0);
  }
  segment_ = {};
  begin_ = end_ = 0;
  waiting_.Clear();
  handing_.Clear();
  unfenced_.Clear();
  queue_.Drop();
  outstanding_ = large_ = 0;
}

}  // namespace farpage
