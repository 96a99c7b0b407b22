// Dialling and the initiator's half of the handshake, against scripted replies.
#include "fabric/mpa_initiate.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <string>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "fabric/dial.h"
#include "os/fd.h"

namespace {

using namespace farpage;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kShortNs = 20'000'000;

// What InitiateMpa makes of a reply that is in the socket before it asks.
Result<MpaGrant> Shake(const std::vector<std::byte>& reply, const MpaAsk& ask = {},
                       bool hang_up = false) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) {
    return Error{Code::kInternal, errno, "socketpair"};
  }
  const Fd ours(pair[0]);
  Fd theirs(pair[1]);
  CHECK_EQ(::send(theirs.get(), reply.data(), reply.size(), 0), static_cast<ssize_t>(reply.size()));
  if (hang_up) ::shutdown(theirs.get(), SHUT_WR);
  Result<MpaGrant> grant = InitiateMpa(ours.get(), ask, NowNs() + kShortNs);
  std::array<std::byte, kMpaFrameBytesMax> request;
  const ssize_t got = ::recv(theirs.get(), request.data(), request.size(), MSG_DONTWAIT);
  MpaParser parser(MpaKind::kRequest);
  parser.Feed({request.data(), got > 0 ? static_cast<size_t>(got) : 0});
  CHECK(parser.state() == MpaParser::State::kParsed);
  CHECK(parser.frame().ord == ask.depth && !parser.frame().peer_to_peer);
  return grant;
}

MpaFrame Reply(uint16_t ird) {
  MpaFrame reply;
  reply.enhanced = true;
  reply.ird = ird;
  return reply;
}

std::vector<std::byte> Encoded(const MpaFrame& reply) {
  std::vector<std::byte> bytes(kMpaFrameBytesMax);
  bytes.resize(EncodeMpaFrame(MpaKind::kReply, reply, bytes.data()));
  return bytes;
}

}  // namespace

FARPAGE_TEST(mpa_initiate_takes_what_is_granted) {
  MpaFrame reply = Reply(64);
  reply.crc = true;
  reply.SetPrivate(EncodeReplyPrivate({kFlagReason | 0x80, 0, 32}));
  const auto ours = Shake(Encoded(reply));
  REQUIRE(ours.ok());
  CHECK_EQ(ours.value().depth, 32);
  CHECK(ours.value().crc);
  CHECK_EQ(ours.value().flags, kFlagReason);  // never more than was asked for
  const auto standard = Shake(Encoded(Reply(16)));
  REQUIRE(standard.ok());
  CHECK(standard.value().depth == 16 && standard.value().flags == 0 && !standard.value().crc);
  const auto unsaid = Shake(Encoded(Reply(kMpaDepthUnsaid)), {false, 100, {}});
  CHECK(unsaid.ok() && unsaid.value().depth == 100);
  MpaFrame old;
  old.revision = 1;
  CHECK(Shake(Encoded(old), {true, 7, {}}).ok());
}

FARPAGE_TEST(mpa_initiate_reads_not_a_byte_more) {
  int pair[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
  const Fd ours(pair[0]);
  const Fd theirs(pair[1]);
  std::vector<std::byte> bytes = Encoded(Reply(1));
  bytes.push_back(std::byte{0x77});
  REQUIRE(::send(theirs.get(), bytes.data(), bytes.size(), 0) > 0);
  CHECK(InitiateMpa(ours.get(), {}, NowNs() + kSecondNs).ok());
  std::byte behind{};
  CHECK_EQ(::recv(ours.get(), &behind, 1, MSG_DONTWAIT), 1);
  CHECK(behind == std::byte{0x77});
}

FARPAGE_TEST(mpa_initiate_refuses_what_it_cannot_do) {
  MpaFrame markers = Reply(1);
  markers.markers = true;
  CHECK(Shake(Encoded(markers)).error().code == Code::kProtocol);
  MpaFrame peer = Reply(1);
  peer.peer_to_peer = true;
  CHECK(Shake(Encoded(peer)).error().code == Code::kProtocol);
  CHECK(Shake(Encoded(Reply(0))).error().code == Code::kProtocol);
  CHECK(Shake(std::vector<std::byte>(30)).error().code == Code::kProtocol);
  MpaFrame rejected = Reply(1);
  rejected.rejected = true;
  CHECK(Shake(Encoded(rejected)).error().code == Code::kConnection);
  rejected.SetPrivate(EncodeReplyPrivate({0, static_cast<uint8_t>(Code::kTicket), 0}));
  CHECK(Shake(Encoded(rejected)).error().code == Code::kTicket);
  rejected.SetPrivate(EncodeReplyPrivate({0, 255, 0}));
  CHECK(Shake(Encoded(rejected)).error().code == Code::kConnection);
}

FARPAGE_TEST(mpa_initiate_ends_in_time_or_with_the_peer) {
  const std::vector<std::byte> whole = Encoded(Reply(1));
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    const std::vector<std::byte> part(whole.begin(), whole.begin() + static_cast<long>(cut));
    if (cut % 8 == 0) CHECK(Shake(part).error().code == Code::kTimeout);
    CHECK(Shake(part, {}, true).error().code == Code::kConnection);
  }
}

FARPAGE_TEST(dial_tells_why_not) {
  const uint64_t deadline = NowNs() + kSecondNs;
  CHECK(DialUnix("", deadline).error().code == Code::kSocketPath);
  CHECK(DialUnix(std::string(108, 'x'), deadline).error().code == Code::kSocketPath);
  CHECK(DialUnix("/nonexistent/socket", deadline).error().code == Code::kConnection);
  CHECK(DialTcp("127.0.0.1", 1, deadline).error().code == Code::kConnection);
  CHECK(DialTcp("not a name", 1, deadline).error().code == Code::kArgument);
}

FARPAGE_TEST(dial_gives_up_on_a_full_backlog) {
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/tmp/farpage-dial-" + std::to_string(::getpid());
  path.copy(address.sun_path, path.size());
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listener.get(), 0) == 0);
  const auto first = DialUnix(path, NowNs() + kSecondNs);
  CHECK(first.ok());
  const uint64_t start = NowNs();
  CHECK(DialUnix(path, start + kShortNs).error().code == Code::kTimeout);
  CHECK(NowNs() - start >= kShortNs);
  ::unlink(path.c_str());
}

FARPAGE_TEST(dial_connects_by_tcp) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
  const auto socket = DialTcp("localhost", ntohs(address.sin_port), NowNs() + kSecondNs);
  CHECK(socket.ok());
}
