// A connected stream socket, read through one buffer and written through one gather list.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace farpage::bench {

// How an end waits for bytes or for room: by asking again and again, asleep in the kernel, or (an
// initiator only) by asking for a while before it sleeps.
enum class Waiting { kPolling, kSleeping, kAdaptive };

// Reads as much as there is per system call and sends as much as was queued per system call.
// Thread: one owner. An error of the socket ends the process; the end of the stream does not.
class Stream {
 public:
  Stream(int socket, Waiting waiting);

  // Bytes received and not yet consumed.
  [[nodiscard]] std::span<const std::byte> received() const {
    return {in_.get() + begin_, end_ - begin_};
  }
  // Waits until `bytes` (at most kBufferBytes) are received; false at the end of the stream.
  bool Need(size_t bytes);
  void Consume(size_t bytes) { begin_ += bytes; }
  // Takes the next `into.size()` bytes out of the stream. What is not received yet comes straight
  // from the socket into `into`, and what follows it into the buffer, by one call if possible.
  // False at the end of the stream.
  bool Take(std::span<std::byte> into);
  // The same for a frame whose parts are known beforehand: a head, a payload and a tail.
  bool TakeFrame(std::span<std::byte> head, std::span<std::byte> payload,
                 std::span<std::byte> tail);

  // Queues `bytes` uninitialised bytes for the caller to fill; queues memory of the caller's.
  // Both send first what is queued where there is no room.
  std::byte* Append(size_t bytes);
  void AppendBorrowed(std::span<const std::byte> bytes);
  // Sends all that is queued.
  void Flush();

  static constexpr size_t kBufferBytes = size_t{256} << 10;
  static constexpr size_t kPiecesMax = 256;

 private:
  bool Receive(std::span<iovec> pieces, size_t* got);
  bool HasRoom(size_t bytes) const {
    return used_ + bytes <= kBufferBytes && pieces_ < kPiecesMax;
  }

  int socket_;
  Waiting waiting_;
  std::unique_ptr<std::byte[]> in_ = std::make_unique<std::byte[]>(kBufferBytes);
  size_t begin_ = 0;
  size_t end_ = 0;
  std::unique_ptr<std::byte[]> out_ = std::make_unique<std::byte[]>(kBufferBytes);
  size_t used_ = 0;
  std::unique_ptr<iovec[]> piece_ = std::make_unique<iovec[]>(kPiecesMax);
  size_t pieces_ = 0;
};

}  // namespace farpage::bench
