#include "fabric/mpa_initiate.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "fabric/dial.h"

namespace farpage {
namespace {

Status SendAll(int socket, std::span<const std::byte> bytes, uint64_t deadline_ns) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      const Status ready = AwaitEvents(socket, POLLOUT, deadline_ns);
      if (!ready.ok()) return ready;
    } else if (errno != EINTR) {
      return Error{Code::kConnection, errno, "send MPA request"};
    }
  }
  return {};
}

Status ReadReply(int socket, MpaParser* parser, uint64_t deadline_ns) {
  std::array<std::byte, kMpaFrameBytesMax> bytes;
  while (parser->state() == MpaParser::State::kNeedMore) {
    const ssize_t got = ::recv(socket, bytes.data(), parser->missing(), MSG_DONTWAIT);
    if (got > 0) {
      parser->Feed({bytes.data(), static_cast<size_t>(got)});
    } else if (got == 0) {
      return Error{Code::kConnection, 0, "closed before the MPA reply"};
    } else if (errno == EAGAIN) {
      const Status ready = AwaitEvents(socket, POLLIN, deadline_ns);
      if (!ready.ok()) return ready;
    } else if (errno != EINTR) {
      return Error{Code::kConnection, errno, "receive MPA reply"};
    }
  }
  if (parser->state() == MpaParser::State::kViolation) {
    return Error{Code::kProtocol, 0, "no MPA reply"};
  }
  return {};
}

Error RefusalOf(const MpaFrame& reply) {
  ReplyPrivate data;
  if (DecodeReplyPrivate(reply.private_span(), &data) && data.status != 0 &&
      data.status < static_cast<uint8_t>(Code::kCount)) {
    return {static_cast<Code>(data.status), 0, "MPA reply"};
  }
  return {Code::kConnection, 0, "refused by the MPA reply"};
}

}  // namespace

Result<MpaGrant> InitiateMpa(int socket, const MpaAsk& ask, uint64_t deadline_ns) {
  RequestPrivate request_private;
  request_private.flags = ask.flags;
  request_private.ticket = ask.ticket;
  const MpaFrame request =
      MakeMpaRequest(ask.crc, ask.depth, EncodeRequestPrivate(request_private));
  std::array<std::byte, kMpaFrameBytesMax> bytes;
  const uint32_t length = EncodeMpaFrame(MpaKind::kRequest, request, bytes.data());
  const Status sent = SendAll(socket, {bytes.data(), length}, deadline_ns);
  if (!sent.ok()) return sent.error();

  MpaParser parser(MpaKind::kReply);
  const Status received = ReadReply(socket, &parser, deadline_ns);
  if (!received.ok()) return received.error();
  const MpaFrame& reply = parser.frame();
  if (reply.rejected) return RefusalOf(reply);
  if (reply.markers) return Error{Code::kProtocol, 0, "the MPA reply demands markers"};
  if (reply.peer_to_peer && !request.peer_to_peer) {
    return Error{Code::kProtocol, 0, "the MPA reply demands a peer-to-peer start"};
  }

  MpaGrant grant;
  grant.crc = ask.crc || reply.crc;  // RFC 5044 section 7.1.1: one side's wish binds both
  grant.depth = ask.depth;
  if (reply.enhanced && reply.ird != kMpaDepthUnsaid) grant.depth = std::min(ask.depth, reply.ird);
  ReplyPrivate reply_private;
  if (DecodeReplyPrivate(reply.private_span(), &reply_private)) {
    grant.flags = reply_private.flags & request_private.flags;
    grant.depth = static_cast<uint16_t>(std::min<uint32_t>(grant.depth, reply_private.depth));
  }
  if (grant.depth == 0) return Error{Code::kProtocol, 0, "the MPA reply grants an IRD of 0"};
  return grant;
}

}  // namespace farpage
