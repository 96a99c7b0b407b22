// The serving end of raw ping-pong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "bench/frame.h"
#include "bench/stream.h"

namespace farpage::bench {

// kAreaBytes of memory, all of it present, that READs come from and WRITEs go to.
class Area {
 public:
  Area();
  // Sets every word to AreaWord() again, if anybody wrote since.
  void Restore();
  // The bytes [offset, offset + length); ends the process where they are not all inside.
  [[nodiscard]] std::span<std::byte> Range(uint64_t offset_bytes, uint64_t length_bytes) const;
  void MarkWritten() { written_ = true; }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  bool written_ = true;
};

// Serves one connection until the peer closes it. READs and WRITEs of one receive are answered by
// one send; payloads of up to kCopiedBytesMax are copied, longer ones are sent from where they lie.
void ServeConnection(int socket, Waiting waiting, Area& area);

}  // namespace farpage::bench
