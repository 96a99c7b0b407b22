// A model in memory of a region that several clients use at once, and one such client.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {

using Random = std::mt19937_64;

inline uint64_t Below(Random& random, uint64_t bound) { return random() % bound; }

// Every byte has one owner, who alone writes it; owners change in the middle of pages. Between
// them lie words that all share: counters and locks, each lock with the value it guards.
struct ModelLayout {
  struct Chunk {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  static constexpr uint64_t kSharedEvery = 150'000;
  static constexpr uint64_t kSharedBytes = 24;  // counter, lock, guarded value

  // `size_bytes` of the region are used; `fill` is what they hold at first.
  ModelLayout(uint64_t size_bytes, uint32_t clients, Random& random, std::vector<std::byte> fill)
      : bytes(std::move(fill)), chunks(clients) {
    uint64_t next_shared = 4096 - 8;  // the first one lies across two pages
    for (uint64_t at = 0; at < size_bytes;) {
      if (at == next_shared && at + kSharedBytes <= size_bytes) {
        shared.push_back(at);
        std::memset(bytes.data() + at, 0, kSharedBytes);
        at += kSharedBytes;
        next_shared = at + kSharedEvery / 8 * 8;
        continue;
      }
      const uint64_t most = (next_shared > at ? next_shared : size_bytes) - at;
      const uint64_t wish = 1 + Below(random, Below(random, 4) == 0 ? 20'000 : 300);
      const uint64_t length = std::min({most, wish, size_bytes - at});
      chunks[Below(random, clients)].push_back({at, length});
      at += length;
    }
  }

  std::vector<std::byte> bytes;             // what the region must hold
  std::vector<std::vector<Chunk>> chunks;   // by owner
  std::vector<uint64_t> shared;
};

struct ModelRules {
  // A READ or WRITE may fail with this and is then repeated (kOk: none may fail).
  Code may_fail = Code::kOk;
  bool may_vanish = true;
  bool tcp = true;
};

// One client with connections of its own. Thread: one.
class ModelClient {
 public:
  ModelClient(Appliance& appliance, ModelLayout& layout, uint32_t stag, uint32_t index,
              uint64_t seed, const ModelRules& rules)
      : appliance_(appliance),
        layout_(layout),
        mine_(layout.chunks[index]),
        stag_(stag),
        id_(index + 1),
        rules_(rules),
        random_(seed * 1000 + index) {}

  // `rounds` batches; false (and the test failed) when something was not as it must be.
  bool Run(uint64_t rounds) {
    for (uint64_t round = 0; round < rounds; round++) {
      if (initiator_ == nullptr || Below(random_, 40) == 0) {
        if (!Reconnect()) return false;
      }
      if (rules_.may_vanish && Below(random_, 40) == 0) Vanish();
      const uint64_t kind = Below(random_, 10);
      const bool fine = kind == 0 ? AddToCounter() : kind == 1 ? UseLock() : MixedBatch();
      if (!fine) return false;
    }
    initiator_.reset();
    return true;
  }

  [[nodiscard]] const std::vector<uint64_t>& added() const { return added_; }
  [[nodiscard]] const std::vector<uint64_t>& locked() const { return locked_; }
  [[nodiscard]] uint64_t operations() const { return operations_; }
  [[nodiscard]] uint64_t retries() const { return retries_; }

 private:
  struct Op {
    WorkRequest request;
    std::vector<std::byte> bytes;
    std::vector<std::byte> want;  // of a READ; empty: not checked
    Completion completion;
    bool done = false;
  };
  // How long an operation may take, and one that fails for lack of memory be repeated: until others
  // have synced, who may have to wait for a core.
  static constexpr uint64_t kPatienceNs = 30'000'000'000;

  bool Reconnect() {
    initiator_.reset();
    static constexpr std::array<uint16_t, 6> kDepths{1, 2, 3, 8, 33, 64};
    const bool tcp = rules_.tcp && Below(random_, 2) == 0;
    const bool crc = Below(random_, 3) == 0;
    depth_ = kDepths[Below(random_, kDepths.size())];
    uint8_t flags = Below(random_, 2) == 0 ? kFlagAnyOrder | kFlagReason : kFlagReason;
    if (rules_.may_fail == Code::kOk && Below(random_, 5) == 0) flags = 0;
    for (int attempt = 0; attempt < 100 && initiator_ == nullptr; attempt++) {
      initiator_ = appliance_.Connect(tcp, crc, depth_, flags);
      if (initiator_ == nullptr) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return Expect(initiator_ != nullptr, "connected");
  }

  bool Expect(bool fine, const char* what) {
    if (fine) return true;
    Fail(__FILE__, __LINE__, "client " + std::to_string(id_) + ": " + what);
    return false;
  }

  WorkRequest Request(Opcode opcode, uint64_t offset, uint64_t length, std::byte* local) const {
    WorkRequest request;
    request.opcode = opcode;
    request.stag = stag_;
    request.remote_offset = offset;
    request.length_bytes = static_cast<uint32_t>(length);
    request.local = local;
    return request;
  }

  // Somebody who asks and does not wait for the answer.
  void Vanish() {
    std::vector<std::byte> into(300'000);
    for (int n = 0; n < 1 + int(Below(random_, 8)); n++) {
      const uint64_t length = 1 + Below(random_, 30'000);
      if (length >= layout_.bytes.size()) continue;
      const uint64_t offset = Below(random_, layout_.bytes.size() - length);
      const WorkRequest request = Request(Opcode::kRead, offset, length, into.data());
      initiator_->Post({&request, 1});
    }
    initiator_->Flush();
    initiator_.reset();
    (void)Reconnect();
  }

  // Posts all and waits for all; the first code that is not kOk.
  Code Do(std::vector<Op>& ops) {
    for (size_t n = 0; n < ops.size(); n++) {
      ops[n].request.id = n;
      ops[n].done = false;
      ops[n].completion = {};
    }
    size_t posted = 0;
    size_t completed = 0;
    Code first = Code::kOk;
    const uint64_t deadline = NowNs() + kPatienceNs;
    while (completed < ops.size()) {
      while (posted < ops.size() && initiator_->Post({&ops[posted].request, 1}) == 1) posted++;
      initiator_->Flush();
      std::array<Completion, 32> got;
      const size_t count = initiator_->Poll(got);
      for (size_t n = 0; n < count; n++) {
        Op& op = ops[got[n].id];
        if (!op.done) completed++;
        op.done = true;
        op.completion = got[n];
        if (got[n].code != Code::kOk && (first == Code::kOk || first == Code::kConnection ||
                                         first == Code::kOutcomeUnknown)) {
          first = got[n].code;
        }
      }
      if (count == 0 && completed < ops.size() && !initiator_->Wait(20'000, deadline).ok()) {
        return Code::kTimeout;
      }
    }
    operations_ += ops.size();
    // A refused WRITE that had been handed over completes a second time.
    Completion late;
    while (initiator_->Poll({&late, 1}) == 1) {
      if (late.code != Code::kOk) first = late.code;
    }
    return first;
  }

  // READs and WRITEs pipelined, a fence at the end, repeated as a whole while it may fail.
  bool MixedBatch() {
    std::vector<Op> ops(1 + Below(random_, std::min<uint64_t>(depth_ * 2u, 48)));
    std::vector<ModelLayout::Chunk> reads;
    for (Op& op : ops) MakeOp(op, reads);
    ops.push_back({Request(Opcode::kRead, 0, 0, nullptr), {}, {}, {}, false});
    for (const uint64_t end_ns = NowNs() + kPatienceNs; NowNs() < end_ns;) {
      const Code code = Do(ops);
      if (code == Code::kOk) return Compare(ops);
      if (!Acceptable(code)) return false;
      retries_++;
      std::this_thread::sleep_for(std::chrono::milliseconds(1 + Below(random_, 10)));
      if (!Reconnect()) return false;
    }
    return Expect(false, "no success in 30 s");
  }

  void MakeOp(Op& op, std::vector<ModelLayout::Chunk>& reads) {
    const ModelLayout::Chunk& chunk = mine_[Below(random_, mine_.size())];
    const uint64_t skip = Below(random_, chunk.bytes);
    uint64_t length = 1 + Below(random_, chunk.bytes - skip);
    if (Below(random_, 3) == 0) length = std::min<uint64_t>(length, 16);
    const uint64_t offset = chunk.offset + skip;
    const uint64_t dice = Below(random_, 8);
    std::byte* model = layout_.bytes.data() + offset;
    const bool was_read = std::any_of(reads.begin(), reads.end(), [&](const auto& read) {
      return read.offset < offset + length && offset < read.offset + read.bytes;
    });
    op.bytes.resize(length);
    if (dice < 4 && !was_read) {
      // A READ posted before may or may not see it: that is why those are avoided.
      for (std::byte& byte : op.bytes) byte = static_cast<std::byte>(random_());
      std::memcpy(model, op.bytes.data(), length);
      op.request = Request(Opcode::kWrite, offset, length, op.bytes.data());
      return;
    }
    if (dice == 7) {
      // Of everybody's bytes, long: nothing is known but that it comes.
      length = 1 + Below(random_, std::min<uint64_t>(100'000, layout_.bytes.size() - 1));
      op.bytes.resize(length);
      op.request = Request(Opcode::kRead, Below(random_, layout_.bytes.size() - length), length,
                           op.bytes.data());
      return;
    }
    op.want.assign(model, model + length);
    reads.push_back({offset, length});
    op.request = Request(Opcode::kRead, offset, length, op.bytes.data());
  }

  bool Compare(const std::vector<Op>& ops) {
    for (const Op& op : ops) {
      if (op.want.empty() || op.want == op.bytes) continue;
      size_t at = 0;
      while (op.want[at] == op.bytes[at]) at++;
      const std::string text = "wrong byte at " + std::to_string(op.request.remote_offset + at) +
                               " of READ " + std::to_string(op.request.remote_offset) + "+" +
                               std::to_string(op.request.length_bytes) + ": " +
                               std::to_string(int(op.bytes[at])) + " is not " +
                               std::to_string(int(op.want[at]));
      return Expect(false, text.c_str());
    }
    return true;
  }

  bool Acceptable(Code code) {
    if (rules_.may_fail != Code::kOk &&
        (code == rules_.may_fail || code == Code::kConnection || code == Code::kOutcomeUnknown)) {
      return true;
    }
    return Expect(false, CodeName(code));
  }

  // One atomic; repeated when it surely was not executed.
  bool Atomic(WorkRequest request, uint64_t* old_value) {
    for (const uint64_t end_ns = NowNs() + kPatienceNs; NowNs() < end_ns;) {
      std::vector<Op> ops(1);
      ops[0].request = request;
      const Code code = Do(ops);
      *old_value = ops[0].completion.old_value;
      if (code == Code::kOk) return true;
      // "Perhaps executed" cannot be checked; the rules of a run never lead there.
      if (code == Code::kOutcomeUnknown || !Acceptable(code)) {
        return Expect(false, "an atomic with an unknown outcome");
      }
      retries_++;
      std::this_thread::sleep_for(std::chrono::milliseconds(1 + Below(random_, 10)));
      if (!Reconnect()) return false;
    }
    return Expect(false, "no success in 30 s");
  }

  bool AddToCounter() {
    added_.resize(layout_.shared.size());
    if (added_.empty()) return true;
    const uint64_t which = Below(random_, added_.size());
    WorkRequest request = Request(Opcode::kFetchAdd, layout_.shared[which], 8, nullptr);
    request.operand = 1 + Below(random_, 1'000'000);
    uint64_t old_value = 0;
    if (!Atomic(request, &old_value)) return false;
    added_[which] += request.operand;
    return true;
  }

  // Takes a lock by COMPARE_SWAP, adds 1 to the value beside it by READ and WRITE, lets go.
  bool UseLock() {
    locked_.resize(layout_.shared.size());
    if (locked_.empty()) return true;
    const uint64_t which = Below(random_, locked_.size());
    WorkRequest take = Request(Opcode::kCompareSwap, layout_.shared[which] + 8, 8, nullptr);
    take.operand = id_;
    uint64_t holder = 0;
    if (!Atomic(take, &holder)) return false;
    if (holder != 0) return true;  // somebody else has it
    const uint64_t offset = layout_.shared[which] + 16;
    uint64_t value = 0;
    for (const Opcode opcode : {Opcode::kRead, Opcode::kWrite}) {
      for (const uint64_t end_ns = NowNs() + kPatienceNs;;) {
        std::vector<Op> ops(2);
        ops[0].request = Request(opcode, offset, 8, reinterpret_cast<std::byte*>(&value));
        ops[1].request = Request(Opcode::kRead, 0, 0, nullptr);
        const Code code = Do(ops);
        if (code == Code::kOk) break;
        if (!Acceptable(code) || !Expect(NowNs() < end_ns, "no success in 30 s")) {
          return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        if (!Reconnect()) return false;
      }
      if (opcode == Opcode::kRead) value++;
    }
    locked_[which]++;
    WorkRequest give = Request(Opcode::kCompareSwap, layout_.shared[which] + 8, 8, nullptr);
    give.compare = id_;
    if (!Atomic(give, &holder)) return false;
    return Expect(holder == id_, "the lock was still held");
  }

  Appliance& appliance_;
  ModelLayout& layout_;
  const std::vector<ModelLayout::Chunk>& mine_;
  const uint32_t stag_;
  const uint64_t id_;
  const ModelRules rules_;
  Random random_;
  uint16_t depth_ = 1;
  std::unique_ptr<Initiator> initiator_;
  std::vector<uint64_t> added_;
  std::vector<uint64_t> locked_;
  uint64_t operations_ = 0;
  uint64_t retries_ = 0;
};

}  // namespace farpage::test
