// Bytes on their way into a stream socket, gathered from headers of ours and memory of others.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace farpage {

// A bounded queue of pieces: bytes written into its own arena, and bytes borrowed from the caller,
// sent in order by one sendmsg(2) after another. Arena bytes that follow each other are one piece.
// Thread: one owner.
class GatherQueue {
 public:
  // Pieces of one queue, thus of one sendmsg; below the kernel's UIO_MAXIOV of 1,024.
  static constexpr size_t kPiecesMax = 256;

  explicit GatherQueue(size_t arena_bytes);

  // Whether `bytes` of the arena and `pieces` more pieces are to be had now. What lacks room waits
  // until everything queued has been sent.
  [[nodiscard]] bool HasRoom(size_t bytes, size_t pieces) const {
    return arena_bytes_ - arena_used_ >= bytes && kPiecesMax - end_ >= pieces;
  }

  // Appends `bytes` uninitialised bytes of the arena; the caller fills them before Send.
  // Requires HasRoom(bytes, 1).
  std::byte* Append(size_t bytes);

  // Appends memory that stays valid and unchanged until sent() has passed it. Requires room for a
  // piece. Nothing happens for an empty span.
  void AppendBorrowed(std::span<const std::byte> bytes);

  [[nodiscard]] bool empty() const { return begin_ == end_; }
  // Positions in the stream: bytes ever appended, and ever taken by the socket.
  [[nodiscard]] uint64_t appended() const { return appended_; }
  [[nodiscard]] uint64_t sent() const { return sent_; }

  // Sends what the socket takes without blocking (sendmsg, MSG_DONTWAIT, MSG_NOSIGNAL). True when
  // the queue is empty afterwards, false when the socket is full.
  // Errors: kConnection with the errno (EPIPE, ECONNRESET and all others).
  Result<bool> Send(int socket);

  // Forgets everything queued.
  void Drop();

 private:
  void Consume(size_t bytes);

  std::unique_ptr<std::byte[]> arena_;
  size_t arena_bytes_;
  size_t arena_used_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t appended_ = 0;
  uint64_t sent_ = 0;
  std::unique_ptr<iovec[]> pieces_;
};

}  // namespace farpage
