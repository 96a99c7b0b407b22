#include "bench/stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "bench/die.h"

namespace farpage::bench {
namespace {

bool Later() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

Stream::Stream(int socket, Waiting waiting) : socket_(socket), waiting_(waiting) {
  // Touched beforehand: no page fault belongs into a measurement.
  std::memset(in_.get(), 0, kBufferBytes);
  std::memset(out_.get(), 0, kBufferBytes);
}

bool Stream::Receive(std::span<iovec> pieces, size_t* got) {
  const int flags = waiting_ == Waiting::kPolling ? MSG_DONTWAIT : 0;
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  for (;;) {
    const ssize_t count = pieces.size() == 1
                              ? recv(socket_, pieces[0].iov_base, pieces[0].iov_len, flags)
                              : recvmsg(socket_, &message, flags);
    if (count > 0) {
      *got = static_cast<size_t>(count);
      return true;
    }
    if (count == 0 || errno == ECONNRESET) return false;
    if (!Later()) Die("recv");
    if (waiting_ == Waiting::kPolling) SpinPause();
  }
}

bool Stream::Need(size_t bytes) {
  while (end_ - begin_ < bytes) {
    if (begin_ == end_) {
      begin_ = end_ = 0;
    } else if (kBufferBytes - begin_ < bytes) {
      std::memmove(in_.get(), in_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    iovec piece{in_.get() + end_, kBufferBytes - end_};
    size_t got = 0;
    if (!Receive({&piece, 1}, &got)) return false;
    end_ += got;
  }
  return true;
}

bool Stream::Take(std::span<std::byte> into) { return TakeFrame({}, into, {}); }

bool Stream::TakeFrame(std::span<std::byte> head, std::span<std::byte> payload,
                       std::span<std::byte> tail) {
  std::span<std::byte> parts[3] = {head, payload, tail};
  for (std::span<std::byte>& part : parts) {
    const size_t here = std::min(part.size(), end_ - begin_);
    if (here == 0) continue;
    std::memcpy(part.data(), in_.get() + begin_, here);
    begin_ += here;
    part = part.subspan(here);
  }
  while (!parts[0].empty() || !parts[1].empty() || !parts[2].empty()) {
    begin_ = end_ = 0;  // a part is wanting, thus the buffer is used up
    iovec pieces[4];
    size_t count = 0;
    for (const std::span<std::byte>& part : parts)
      if (!part.empty()) pieces[count++] = {part.data(), part.size()};
    pieces[count++] = {in_.get(), kBufferBytes};
    size_t got = 0;
    if (!Receive({pieces, count}, &got)) return false;
    for (std::span<std::byte>& part : parts) {
      const size_t here = std::min(part.size(), got);
      part = part.subspan(here);
      got -= here;
    }
    end_ = got;
  }
  return true;
}

std::byte* Stream::Append(size_t bytes) {
  if (!HasRoom(bytes)) Flush();
  std::byte* const place = out_.get() + used_;
  used_ += bytes;
  iovec* const last = pieces_ == 0 ? nullptr : &piece_[pieces_ - 1];
  if (last != nullptr && static_cast<std::byte*>(last->iov_base) + last->iov_len == place)
    last->iov_len += bytes;
  else
    piece_[pieces_++] = {place, bytes};
  return place;
}

void Stream::AppendBorrowed(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (!HasRoom(0)) Flush();
  piece_[pieces_++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

void Stream::Flush() {
  const int flags = MSG_NOSIGNAL | (waiting_ == Waiting::kPolling ? MSG_DONTWAIT : 0);
  size_t first = 0;
  while (first < pieces_) {
    ssize_t count;
    if (pieces_ - first == 1) {
      count = send(socket_, piece_[first].iov_base, piece_[first].iov_len, flags);
    } else {
      msghdr message{};
      message.msg_iov = &piece_[first];
      message.msg_iovlen = pieces_ - first;
      count = sendmsg(socket_, &message, flags);
    }
    if (count < 0) {
      if (!Later()) Die("send");
      if (waiting_ == Waiting::kPolling) SpinPause();
      continue;
    }
    auto sent = static_cast<size_t>(count);
    while (first < pieces_ && sent >= piece_[first].iov_len) sent -= piece_[first++].iov_len;
    if (sent != 0) {
      piece_[first].iov_base = static_cast<std::byte*>(piece_[first].iov_base) + sent;
      piece_[first].iov_len -= sent;
    }
  }
  pieces_ = 0;
  used_ = 0;
}

}  // namespace farpage::bench
