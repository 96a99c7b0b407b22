// Long payload of Read Responses: from the socket straight into the caller's memory, several
// segments by one recvmsg(2).
//
// A responder cuts a long answer into segments of one size. Once two had the same, the places of
// the next ones are foreseen: payload to where it will belong if they go on so, and what lies
// between two payloads (trailer and header) aside. Each header is judged as any other before its
// payload counts. Where one says something else, the bytes behind it are put in line again, into
// the receive buffer, and parsed from there. All that is foreseen lies in the rest of the one READ
// whose segment is being received, so nobody else's memory is ever at stake, and that rest is
// written again before its READ completes.
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/crc32c.h"
#include "fabric/initiator.h"

namespace farpage {
namespace {

constexpr size_t kGapBytesMax = kTrailerBytesMax + kTaggedHeaderBytes;

}  // namespace

// Pieces by turns: a payload, and the gap behind it (its trailer and the next header).
struct Initiator::Layout {
  std::array<iovec, 2 * (kAheadMax + 1)> pieces;
  std::array<std::array<std::byte, kGapBytesMax>, kAheadMax + 1> gaps;
  size_t count = 0;
  size_t bytes = 0;

  void Add(std::byte* payload, uint32_t payload_bytes, uint32_t trailer_bytes) {
    std::byte* const gap = gaps[count / 2].data();
    pieces[count++] = {payload, payload_bytes};
    pieces[count++] = {gap, trailer_bytes + kTaggedHeaderBytes};
    bytes += payload_bytes + trailer_bytes + kTaggedHeaderBytes;
  }
};

// Requires an empty buffer and a segment with payload to come.
ssize_t Initiator::ReceiveDirect(size_t* asked, int flags) {
  begin_ = end_ = 0;
  Layout layout;
  layout.Add(segment_.to, segment_.left, segment_.trailer);
  // With the CRC each payload is summed as it comes.
  if (!crc_) Foresee(&layout);
  msghdr message{};
  message.msg_iov = layout.pieces.data();
  message.msg_iovlen = layout.count;
  *asked = layout.bytes;
  const ssize_t got = ::recvmsg(socket_.get(), &message, flags);
  if (got > 0) Follow(layout, static_cast<size_t>(got));
  return got;
}

// Adds the segments of this READ behind the present one, as they will be if they stay as long.
void Initiator::Foresee(Layout* layout) {
  const Op& op = *segment_.op;
  const size_t most = layout->bytes + kAheadBytes;
  std::byte* to = segment_.to + segment_.left;
  uint32_t rest = op.request.length_bytes - op.done_bytes - segment_.payload;
  while (steady_bytes_ != 0 && rest != 0 && layout->count < layout->pieces.size()) {
    const uint32_t bytes = std::min(rest, steady_bytes_);
    if (layout->bytes + bytes + kGapBytesMax > most) return;
    layout->Add(to, bytes, FpduPadBytes(kDdpTaggedBytes + bytes) + kCrcBytes);
    to += bytes;
    rest -= bytes;
  }
}

// Takes note of `bytes` bytes that were received into `layout`. What cannot be judged yet, and
// what came otherwise than foreseen, is in the buffer afterwards.
void Initiator::Follow(const Layout& layout, size_t bytes) {
  for (size_t piece = 0;; piece += 2) {
    const auto placed = static_cast<uint32_t>(std::min<size_t>(bytes, segment_.left));
    if (crc_) segment_.crc = Crc32c(segment_.crc, {segment_.to, placed});
    segment_.to += placed;
    segment_.left -= placed;
    bytes -= placed;
    const size_t gap_bytes = layout.pieces[piece + 1].iov_len;
    if (bytes <= gap_bytes) return PutInLine(layout, piece + 1, bytes);
    PutInLine(layout, piece + 1, gap_bytes);
    bytes -= gap_bytes;
    if (!Confirm(layout.pieces[piece + 2])) {
      if (!ended_) PutInLine(layout, piece + 2, bytes);
      return;
    }
  }
}

// Parses the gap in the buffer; true when the header says that the payload behind it is in place.
bool Initiator::Confirm(const iovec& foreseen) {
  const Op* const op = segment_.op;
  if (ParseSegment() != Parse::kAgain || ParseHeader() != Parse::kAgain) return false;
  if (segment_.op != op || segment_.payload != foreseen.iov_len) return false;
  begin_ = end_ = 0;
  return true;
}

// Appends `bytes` bytes of `layout`, from a piece on, to the buffer.
void Initiator::PutInLine(const Layout& layout, size_t piece, size_t bytes) {
  for (; bytes != 0; ++piece) {
    const size_t here = std::min(bytes, layout.pieces[piece].iov_len);
    std::memcpy(buffer_.get() + end_, layout.pieces[piece].iov_base, here);
    end_ += here;
    bytes -= here;
  }
}

}  // namespace farpage
