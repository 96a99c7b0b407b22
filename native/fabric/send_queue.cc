#include "fabric/send_queue.h"

namespace farpage {

void SendQueue::Commit(uint32_t bytes) {
  const std::byte* at = Tail();
  used_ += bytes;
  if (count_ != 0) {
    SendPiece& last = piece(count_ - 1);
    if (!last.of_region && last.address + last.length_bytes == at) {
      last.length_bytes += bytes;
      return;
    }
  }
  piece(count_) = {at, 0, 0, bytes, 0, false};
  count_++;
}

void SendQueue::AppendRegion(uint32_t stag, uint64_t region_offset, const std::byte* address,
                             uint64_t turn, uint32_t bytes) {
  piece(count_) = {address, turn, region_offset, bytes, stag, true};
  count_++;
}

void SendQueue::Consume(uint64_t bytes) {
  while (bytes != 0) {
    SendPiece& head = piece(0);
    if (bytes < head.length_bytes) {
      head.address += bytes;
      head.region_offset += bytes;
      head.length_bytes -= static_cast<uint32_t>(bytes);
      return;
    }
    bytes -= head.length_bytes;
    first_ = (first_ + 1) % kSendPiecesMax;
    count_--;
  }
  if (count_ == 0) {
    used_ = 0;
    first_ = 0;
  }
}

}  // namespace farpage
