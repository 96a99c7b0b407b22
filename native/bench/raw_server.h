// The serving end of raw ping-pong.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

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

// Serves the connections of `listener`, one after the other.
[[noreturn]] void ServeForEver(int listener, Waiting waiting);

// The same in a process of its own, which ends with this object or with this process.
class RawServer {
 public:
  // Listens at `address`, and serves on `core` (kAnyCore: on any). No other thread runs yet.
  RawServer(const std::string& address, Waiting waiting, uint64_t core);
  ~RawServer();
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;

  // What to dial.
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  std::string address_;
  pid_t process_ = 0;
};

}  // namespace farpage::bench
