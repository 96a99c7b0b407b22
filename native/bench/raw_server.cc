#include "bench/raw_server.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "bench/core_pin.h"
#include "bench/die.h"
#include "bench/endpoint.h"

namespace farpage::bench {

Area::Area() : bytes_(std::make_unique_for_overwrite<std::byte[]>(kAreaBytes)) { Restore(); }

void Area::Restore() {
  if (!written_) return;
  for (uint64_t offset = 0; offset < kAreaBytes; offset += 8) {
    const uint64_t word = AreaWord(offset);
    std::memcpy(bytes_.get() + offset, &word, sizeof word);
  }
  written_ = false;
}

std::span<std::byte> Area::Range(uint64_t offset_bytes, uint64_t length_bytes) const {
  if (length_bytes > kAreaBytes || offset_bytes > kAreaBytes - length_bytes) {
    errno = 0;
    Die("a request beyond the area");
  }
  return {bytes_.get() + offset_bytes, static_cast<size_t>(length_bytes)};
}

namespace {

void QueueResponse(Stream& stream, const FrameHead& request, std::span<const std::byte> payload) {
  const FrameHead head{FrameKind::kResponse, request.length_bytes, request.offset_bytes};
  const size_t tail = TailBytes(payload.size());
  if (payload.size() <= kCopiedBytesMax) {
    std::byte* const place = stream.Append(sizeof head + payload.size() + tail);
    std::memcpy(place, &head, sizeof head);
    std::memcpy(place + sizeof head, payload.data(), payload.size());
    std::memset(place + sizeof head + payload.size(), 0, tail);
    return;
  }
  std::memcpy(stream.Append(sizeof head), &head, sizeof head);
  stream.AppendBorrowed(payload);
  std::memset(stream.Append(tail), 0, tail);
}

// Serves the READ at the front of the stream; false at the end of the stream.
bool ServeRead(Stream& stream, const FrameHead& head, const Area& area) {
  if (stream.received().size() < kReadRequestBytes) {
    stream.Flush();
    if (!stream.Need(kReadRequestBytes)) return false;
  }
  stream.Consume(kReadRequestBytes);
  QueueResponse(stream, head, area.Range(head.offset_bytes, head.length_bytes));
  return true;
}

// Places the WRITE at the front of the stream; false at the end of the stream.
bool ServeWrite(Stream& stream, const FrameHead& head, Area& area) {
  const std::span<std::byte> into = area.Range(head.offset_bytes, head.length_bytes);
  if (stream.received().size() < FrameBytes(head.length_bytes)) stream.Flush();
  area.MarkWritten();
  stream.Consume(sizeof head);
  std::byte tail[kTailBytesMax];
  return stream.TakeFrame({}, into, {tail, TailBytes(head.length_bytes)});
}

}  // namespace

void ServeConnection(int socket, Waiting waiting, Area& area) {
  Stream stream(socket, waiting);
  FrameHead head;
  for (;;) {
    if (stream.received().size() < sizeof head) {
      stream.Flush();
      if (!stream.Need(sizeof head)) return;
    }
    std::memcpy(&head, stream.received().data(), sizeof head);
    bool more = false;
    if (head.kind == FrameKind::kRead) {
      more = ServeRead(stream, head, area);
    } else if (head.kind == FrameKind::kWrite) {
      more = ServeWrite(stream, head, area);
    } else {
      errno = 0;
      Die("not a request");
    }
    if (!more) return;
  }
}

void ServeForEver(int listener, Waiting waiting) {
  Area area;
  for (;;) {
    const Fd connection = Accept(listener);
    area.Restore();
    ServeConnection(connection.get(), waiting, area);
  }
}

RawServer::RawServer(const std::string& address, Waiting waiting, uint64_t core) {
  const Fd listener = Listen(address);
  address_ = AddressOf(listener.get(), address);
  process_ = Must(fork(), "fork");
  if (process_ != 0) return;
  Must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
  PinToCore(core);
  ServeForEver(listener.get(), waiting);
}

RawServer::~RawServer() {
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

}  // namespace farpage::bench
