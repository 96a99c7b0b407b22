#include "fabric/gather_queue.h"

#include <sys/socket.h>

#include <cerrno>

namespace farpage {

GatherQueue::GatherQueue(size_t arena_bytes)
    : arena_(std::make_unique_for_overwrite<std::byte[]>(arena_bytes)),
      arena_bytes_(arena_bytes),
      pieces_(std::make_unique_for_overwrite<iovec[]>(kPiecesMax)) {}

std::byte* GatherQueue::Append(size_t bytes) {
  std::byte* const at = arena_.get() + arena_used_;
  arena_used_ += bytes;
  appended_ += bytes;
  if (end_ > begin_) {
    iovec& last = pieces_[end_ - 1];
    if (static_cast<std::byte*>(last.iov_base) + last.iov_len == at) {
      last.iov_len += bytes;
      return at;
    }
  }
  pieces_[end_++] = {at, bytes};
  return at;
}

void GatherQueue::AppendBorrowed(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  appended_ += bytes.size();
  pieces_[end_++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

Result<bool> GatherQueue::Send(int socket) {
  while (begin_ != end_) {
    ssize_t sent = 0;
    if (end_ - begin_ == 1) {
      sent = ::send(socket, pieces_[begin_].iov_base, pieces_[begin_].iov_len,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = pieces_.get() + begin_;
      message.msg_iovlen = end_ - begin_;
      sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
      return Error{Code::kConnection, errno, "sendmsg"};
    }
    Consume(static_cast<size_t>(sent));
  }
  return true;
}

void GatherQueue::Consume(size_t bytes) {
  sent_ += bytes;
  while (begin_ != end_) {
    iovec& piece = pieces_[begin_];
    if (bytes < piece.iov_len) {
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + bytes;
      piece.iov_len -= bytes;
      return;
    }
    bytes -= piece.iov_len;
    ++begin_;
  }
  begin_ = end_ = 0;
  arena_used_ = 0;
}

void GatherQueue::Drop() {
  begin_ = end_ = 0;
  arena_used_ = 0;
}

}  // namespace farpage
