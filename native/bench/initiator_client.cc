#include "bench/initiator_client.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "bench/die.h"

namespace farpage::bench {
namespace {

// How long the appliance may take for one answer.
constexpr uint64_t kAnswerNsMax = 20'000'000'000;
constexpr int kLooksPerClock = 4096;
// The completion that ends a WRITE is its fence's; the WRITE's own has this bit.
constexpr uint64_t kHandedOver = uint64_t{1} << 32;
constexpr uint64_t kAtomicOffset = 64;

uint64_t SlotBytes(const Load& load) { return (load.size_bytes + 63) & ~uint64_t{63}; }

[[noreturn]] void Fail(const char* what, Code code) {
  errno = 0;
  Die((std::string(what) + ": " + CodeName(code)).c_str());
}

void FillWords(std::byte* at, uint64_t offset, uint64_t bytes) {
  for (uint64_t done = 0; done + 8 <= bytes; done += 8) {
    const uint64_t word = AreaWord(offset + done);
    std::memcpy(at + done, &word, sizeof word);
  }
}

}  // namespace

InitiatorClient::InitiatorClient(std::unique_ptr<Initiator> initiator, uint32_t stag,
                                 Waiting waiting)
    : initiator_(std::move(initiator)), stag_(stag), waiting_(waiting) {
  batch_.reserve(2 * kDepthMax);
  completions_.resize(2 * kDepthMax);
  free_.reserve(kDepthMax);
  ended_.reserve(kDepthMax);
}

std::byte* InitiatorClient::MemoryOf(uint32_t slot, const Load& load) const {
  return payload_.get() + slot * SlotBytes(load);
}

void InitiatorClient::PostAll() {
  if (initiator_->Post(batch_) != batch_.size()) Fail("post", Code::kQuota);
  batch_.clear();
  initiator_->Flush();
}

// Waits for at least one completion; how many are in completions_.
size_t InitiatorClient::Await() {
  if (waiting_ == Waiting::kPolling) {
    const uint64_t deadline = NowNs() + kAnswerNsMax;
    for (int looks = 1; initiator_->Progress() == 0; looks++) {
      SpinPause();
      if (looks % kLooksPerClock == 0 && NowNs() > deadline) Fail("wait", Code::kTimeout);
    }
  } else {
    const uint64_t spin = waiting_ == Waiting::kAdaptive ? kWaitSpinNs : 0;
    const Status waited = initiator_->Wait(spin, NowNs() + kAnswerNsMax);
    if (!waited.ok()) Fail(waited.error().context, waited.error().code);
  }
  return initiator_->Poll(completions_);
}

uint64_t InitiatorClient::RunOne(WorkRequest request) {
  request.stag = stag_;
  batch_.push_back(request);
  if (request.opcode == Opcode::kWrite) {
    WorkRequest fence;
    fence.stag = stag_;
    fence.id = 1;
    batch_.push_back(fence);
  }
  size_t wanted = batch_.size();
  PostAll();
  uint64_t old_value = 0;
  while (wanted > 0) {
    const size_t count = Await();
    for (size_t at = 0; at < count; at++) {
      if (completions_[at].code != Code::kOk) Fail("operation", completions_[at].code);
      old_value = completions_[at].old_value;
    }
    wanted -= count;
  }
  return old_value;
}

void InitiatorClient::Fill(uint64_t span_bytes) {
  const auto piece = std::make_unique<std::byte[]>(kPayloadBytesMax);
  for (uint64_t offset = 0; offset < span_bytes; offset += kPayloadBytesMax) {
    const uint64_t bytes = std::min(kPayloadBytesMax, span_bytes - offset);
    FillWords(piece.get(), offset, bytes);
    WorkRequest write;
    write.opcode = Opcode::kWrite;
    write.remote_offset = offset;
    write.length_bytes = static_cast<uint32_t>(bytes);
    write.local = piece.get();
    RunOne(write);
  }
}

void InitiatorClient::VerifyAtomics() {
  uint64_t word = 41;
  WorkRequest write;
  write.opcode = Opcode::kWrite;
  write.remote_offset = kAtomicOffset;
  write.length_bytes = sizeof word;
  write.local = reinterpret_cast<std::byte*>(&word);
  RunOne(write);
  WorkRequest atomic;
  atomic.opcode = Opcode::kFetchAdd;
  atomic.remote_offset = kAtomicOffset;
  atomic.operand = 2;
  if (RunOne(atomic) != 41) Fail("FETCH_ADD", Code::kInternal);
  atomic.opcode = Opcode::kCompareSwap;
  atomic.compare = 43;
  atomic.operand = 7;
  if (RunOne(atomic) != 43 || RunOne(atomic) != 7) Fail("COMPARE_SWAP", Code::kInternal);
}

void InitiatorClient::Verify(const Load& load) {
  if (load.operation == Operation::kFetchAdd || load.operation == Operation::kCompareSwap) {
    VerifyAtomics();
    return;
  }
  const uint64_t bytes = load.size_bytes;
  const auto got = std::make_unique<std::byte[]>(bytes);
  const auto expected = std::make_unique<std::byte[]>(bytes);
  const uint64_t offset = places_.Next(load);
  WorkRequest request;
  request.remote_offset = offset;
  request.length_bytes = static_cast<uint32_t>(bytes);
  FillWords(expected.get(), offset, bytes);
  if (load.operation == Operation::kWrite) {
    request.opcode = Opcode::kWrite;
    request.local = expected.get();
    RunOne(request);
    request.opcode = Opcode::kRead;
  } else if (!pattern_) {
    return;
  }
  request.local = got.get();
  RunOne(request);
  if (std::memcmp(got.get(), expected.get(), bytes & ~uint64_t{7}) != 0)
    Fail("wrong bytes", Code::kInternal);
}

void InitiatorClient::Append(const Load& load, uint32_t slot) {
  WorkRequest request;
  request.id = slot;
  request.stag = stag_;
  request.remote_offset = flight_[slot].offset;
  switch (load.operation) {
    case Operation::kRead:
    case Operation::kWrite:
      request.length_bytes = static_cast<uint32_t>(load.size_bytes);
      request.local = MemoryOf(slot, load);
      break;
    case Operation::kFetchAdd:
      request.opcode = Opcode::kFetchAdd;
      request.operand = 1;
      break;
    case Operation::kCompareSwap:
      request.opcode = Opcode::kCompareSwap;
      break;
  }
  if (load.operation == Operation::kWrite) {
    WorkRequest write = request;
    write.opcode = Opcode::kWrite;
    write.id |= kHandedOver;
    batch_.push_back(write);
    request.length_bytes = 0;
    request.local = nullptr;
  }
  batch_.push_back(request);
}

void InitiatorClient::Check(const Load& load, uint32_t slot) const {
  if (!pattern_ || load.operation != Operation::kRead) return;
  const uint64_t word = AreaWord(flight_[slot].offset);
  if (std::memcmp(MemoryOf(slot, load), &word, sizeof word) != 0)
    Fail("wrong bytes", Code::kInternal);
}

void InitiatorClient::Refill(const Load& load, uint64_t now) {
  while (!free_.empty() && (load.offsets.empty() || posted_ < load.offsets.size())) {
    const uint32_t slot = free_.back();
    free_.pop_back();
    flight_[slot] = {load.offsets.empty() ? places_.Next(load) : load.offsets[posted_], now};
    Append(load, slot);
    posted_++;
  }
  if (!batch_.empty()) PostAll();
}

// Waits for operations to end and frees their slots, which are in ended_ afterwards; the time.
uint64_t InitiatorClient::Collect(const Load& load) {
  const size_t count = Await();
  const uint64_t now = NowNs();
  ended_.clear();
  for (size_t at = 0; at < count; at++) {
    const Completion& completion = completions_[at];
    if (completion.code != Code::kOk) Fail("operation", completion.code);
    if ((completion.id & kHandedOver) != 0) continue;
    const auto slot = static_cast<uint32_t>(completion.id);
    Check(load, slot);
    ended_.push_back(slot);
    free_.push_back(slot);
  }
  done_ += ended_.size();
  return now;
}

Measured InitiatorClient::Run(const Load& load) {
  Measured measured;
  payload_ = std::make_unique<std::byte[]>(load.depth * SlotBytes(load));
  free_.clear();
  for (auto slot = static_cast<uint32_t>(load.depth); slot > 0; slot--) free_.push_back(slot - 1);
  posted_ = done_ = 0;
  const bool visiting = !load.offsets.empty();
  uint64_t begin = NowNs();
  uint64_t now = begin;
  const uint64_t counted_from = begin + load.warm_up_ns;
  bool counting = visiting;
  // However long the scheduler kept us away, at least one operation is counted.
  while (visiting ? done_ < load.offsets.size() : !counting || now - begin < load.duration_ns) {
    Refill(load, now);
    now = Collect(load);
    if (counting) {
      for (const uint32_t slot : ended_) measured.latency.Add(now - flight_[slot].posted_ns);
    } else if (now >= counted_from) {
      counting = true;
      begin = now;
    }
  }
  measured.elapsed_ns = now - begin;
  while (done_ < posted_) Collect(load);
  return measured;
}

}  // namespace farpage::bench
