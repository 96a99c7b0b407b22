#include "bench/raw_client.h"

#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "bench/die.h"

namespace farpage::bench {
namespace {

// The bytes between two operations' buffers: whole cache lines.
constexpr uint64_t SlotBytes(uint64_t size_bytes) { return (size_bytes + 63) & ~uint64_t{63}; }

// The payload of the answer to an operation.
uint64_t AnswerBytes(const Load& load) {
  return load.operation == Operation::kRead ? load.size_bytes : 0;
}

}  // namespace

RawClient::RawClient(int socket, Waiting waiting) : stream_(socket, waiting) {}

std::span<std::byte> RawClient::SlotOf(uint64_t number, uint64_t size_bytes) {
  return {payload_.get() + number % slots_ * SlotBytes(size_bytes),
          static_cast<size_t>(size_bytes)};
}

void RawClient::Post(const Load& load, uint64_t number) {
  FrameHead head{FrameKind::kRead, static_cast<uint32_t>(AnswerBytes(load)),
                 places_.Next(load)};
  offset_[number % kDepthMax] = head.offset_bytes;
  if (load.operation == Operation::kWrite) {
    const FrameHead write{FrameKind::kWrite, static_cast<uint32_t>(load.size_bytes),
                          head.offset_bytes};
    const std::span<std::byte> payload = SlotOf(number, load.size_bytes);
    const size_t tail = TailBytes(load.size_bytes);
    std::memcpy(stream_.Append(sizeof write), &write, sizeof write);
    if (payload.size() <= kCopiedBytesMax)
      std::memcpy(stream_.Append(payload.size()), payload.data(), payload.size());
    else
      stream_.AppendBorrowed(payload);
    std::memset(stream_.Append(tail), 0, tail);
  }
  std::byte* const place = stream_.Append(kReadRequestBytes);
  std::memcpy(place, &head, sizeof head);
  std::memset(place + sizeof head, 0, kReadRequestBytes - sizeof head);
}

bool RawClient::AnswerReceived(const Load& load) const {
  return stream_.received().size() >= FrameBytes(AnswerBytes(load));
}

void RawClient::Finish(const Load& load, uint64_t number) {
  const uint64_t bytes = AnswerBytes(load);
  FrameHead head;
  std::byte tail[kTailBytesMax];
  const std::span<std::byte> slot = SlotOf(number, bytes);
  // Short answers come many at a time through the buffer, long ones straight into their slot.
  const bool arrived =
      (bytes > kCopiedBytesMax || stream_.Need(FrameBytes(bytes))) &&
      stream_.TakeFrame({reinterpret_cast<std::byte*>(&head), sizeof head}, slot,
                        {tail, TailBytes(bytes)});
  errno = 0;
  if (!arrived) Die("the server closed the connection");
  const uint64_t offset = offset_[number % kDepthMax];
  if (head.kind != FrameKind::kResponse || head.length_bytes != bytes ||
      head.offset_bytes != offset)
    Die("an answer to another request");
  uint64_t word = AreaWord(offset);
  if (bytes >= sizeof word && std::memcmp(slot.data(), &word, sizeof word) != 0)
    Die("wrong bytes");
}

Measured RawClient::Run(const Load& load) {
  Measured measured;
  slots_ = load.depth;
  payload_ = std::make_unique<std::byte[]>(slots_ * SlotBytes(load.size_bytes));
  uint64_t posted = 0;
  uint64_t done = 0;
  uint64_t begin = NowNs();
  uint64_t now = begin;
  const uint64_t counted_from = begin + load.warm_up_ns;
  bool counting = false;
  // However long the scheduler kept us away, at least one operation is counted.
  while (!counting || now - begin < load.duration_ns) {
    for (; posted - done < load.depth; posted++) {
      Post(load, posted);
      posted_ns_[posted % kDepthMax] = now;
    }
    stream_.Flush();
    const uint64_t first = done;
    do Finish(load, done++);
    while (done < posted && AnswerReceived(load));
    now = NowNs();
    if (counting) {
      for (uint64_t number = first; number < done; number++)
        measured.latency.Add(now - posted_ns_[number % kDepthMax]);
    } else if (now >= counted_from) {
      counting = true;
      begin = now;
    }
  }
  measured.elapsed_ns = now - begin;
  while (done < posted) Finish(load, done++);
  return measured;
}

}  // namespace farpage::bench
