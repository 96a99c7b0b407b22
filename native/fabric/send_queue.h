// What one connection still has to send: bytes of its own and ranges of region memory.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace farpage {

// Headers and small payloads of one connection, at most.
inline constexpr uint32_t kSendBufferBytes = 256 * 1024;
// Pieces queued, and gathered into one sendmsg, at most.
inline constexpr uint32_t kSendPiecesMax = 256;

// A piece is either a run of the queue's own buffer or (STag, offset, length) of region memory.
// The address that a region piece had is valid in the turn that queued it and is looked up again
// in any other: nothing outlives a turn.
struct SendPiece {
  const std::byte* address = nullptr;
  uint64_t turn = 0;           // the turn in which `address` of a region piece is valid
  uint64_t region_offset = 0;  // zero-based in the memory region
  uint32_t length_bytes = 0;
  uint32_t stag = 0;
  bool of_region = false;
};

// First in, first out. One owner thread. No allocation after construction.
class SendQueue {
 public:
  SendQueue() : buffer_(new std::byte[kSendBufferBytes]) {}

  // Room for `bytes` in the buffer and for `pieces` more pieces.
  [[nodiscard]] bool HasRoom(uint32_t bytes, uint32_t pieces) const {
    return kSendBufferBytes - used_ >= bytes && kSendPiecesMax - count_ >= pieces;
  }
  // Where the next `bytes` of the buffer go; they are queued by Commit. Requires room.
  [[nodiscard]] std::byte* Tail() { return buffer_.get() + used_; }
  void Commit(uint32_t bytes);
  void AppendRegion(uint32_t stag, uint64_t region_offset, const std::byte* address,
                    uint64_t turn, uint32_t bytes);

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] uint32_t count() const { return count_; }
  [[nodiscard]] SendPiece& piece(uint32_t index) {
    return pieces_[(first_ + index) % kSendPiecesMax];
  }
  // Removes what has been sent from the front.
  void Consume(uint64_t bytes);

 private:
  std::unique_ptr<std::byte[]> buffer_;
  uint32_t used_ = 0;  // the buffer fills up and starts again when everything was sent
  std::array<SendPiece, kSendPiecesMax> pieces_;
  uint32_t first_ = 0;
  uint32_t count_ = 0;
};

}  // namespace farpage
