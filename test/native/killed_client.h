// One client of regions that outlive their processes: it knows what it must find, and tells the
// record what others may find later.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "killed_model.h"
#include "model.h"

namespace farpage::test {

inline constexpr uint32_t kKilledClients = 3;
// Batches of all clients at most, where a tier has still not taken a page.
inline constexpr uint64_t kKilledStepsMax = 3000;

// A process that may be killed in the next moment tells nobody later what was wrong.
inline void Must(bool fine, const std::string& what) {
  if (fine) return;
  std::printf("FAIL %s\n", what.c_str());
  std::fflush(stdout);
  std::abort();
}

class KilledClient {
 public:
  KilledClient(Appliance& appliance, KilledRecord& record,
               const std::array<uint32_t, kKilledRegions>& stags, uint32_t index, uint64_t seed)
      : appliance_(appliance),
        record_(record),
        stags_(stags),
        index_(index),
        random_(seed * 10 + index) {}

  // Until all clients together have made so many batches, and each of `tiers` took a page.
  void Run(uint64_t steps, uint32_t tiers) {
    while (record_.steps.load() < steps ||
           (record_.tiers.load() != tiers && record_.steps.load() < kKilledStepsMax)) {
      if (initiator_ == nullptr || Below(random_, 40) == 0) {
        Connect(Below(random_, 2) == 0, Below(random_, 3) == 0, 1 + Below(random_, 32));
      }
      std::vector<Use> uses;
      uint64_t block = Below(random_, kBlocks);
      for (uint64_t n = 1 + Below(random_, 6); n != 0; n--) {
        AddUses(block, uses);
        block = (block + kKilledClients) % kBlocks;  // each block once, so that order means nothing
      }
      Complete(uses);
      for (const Use& use : uses) Settle(use);
      record_.steps++;
    }
  }

 private:
  struct Use {
    uint32_t region = 0;
    uint64_t first = 0;
    std::vector<uint32_t> versions;  // of a WRITE: of each cell
    std::vector<std::byte> bytes;
    WorkRequest request;
  };

  void Connect(bool tcp, bool crc, uint64_t depth) {
    initiator_ = appliance_.Connect(tcp, crc, static_cast<uint16_t>(depth));
    Must(initiator_ != nullptr, "a connection");
  }

  void AddUses(uint64_t block, std::vector<Use>& uses) {
    const uint64_t mine = block / kKilledClients * kKilledClients + index_;
    if (mine >= kBlocks) return;
    const auto region = static_cast<uint32_t>(Below(random_, kKilledRegions));
    const uint64_t end = std::min((mine + 1) * kBlockCells, kCells);
    const uint64_t first = mine * kBlockCells + Below(random_, end - mine * kBlockCells);
    const bool by_cells = IsWrittenByCells(mine);
    const uint64_t most = std::min(end - first, by_cells ? 20 : kBlockCells);
    const uint64_t count = 1 + Below(random_, Below(random_, 2) == 0 ? most : std::min(most, 3ul));
    if (Below(random_, 3) == 0) {
      uses.push_back(MakeUse(region, first, count, false));
    } else if (!by_cells) {
      uses.push_back(MakeUse(region, first, count, true));
    } else {
      for (uint64_t n = 0; n < count; n++) uses.push_back(MakeUse(region, first + n, 1, true));
    }
  }

  Use MakeUse(uint32_t region, uint64_t first, uint64_t count, bool writes) {
    Use use{region, first, {}, std::vector<std::byte>(count * kCellBytes), {}};
    use.request.opcode = writes ? Opcode::kWrite : Opcode::kRead;
    use.request.stag = stags_[region];
    use.request.remote_offset = first * kCellBytes;
    use.request.length_bytes = static_cast<uint32_t>(use.bytes.size());
    for (uint64_t n = 0; writes && n < count; n++) {
      use.versions.push_back(record_.cells[region][first + n].Begin());
      const CellBytes bytes = CellOf(region, first + n, use.versions.back());
      std::copy(bytes.begin(), bytes.end(), use.bytes.begin() + ptrdiff_t(n * kCellBytes));
    }
    use.request.local = use.bytes.data();
    return use;
  }

  // Until all of it went well: there may be no room before the next sync.
  void Complete(const std::vector<Use>& uses) {
    const uint64_t deadline = NowNs() + 60'000'000'000;
    for (;;) {
      const Code code = PostAll(uses, *initiator_);
      if (code == Code::kOk) return;
      const bool may_fail = code == Code::kNoSpace || code == Code::kMemoryFull ||
                            code == Code::kConnection || code == Code::kOutcomeUnknown;
      Must(may_fail && NowNs() < deadline, CodeName(code));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      Connect(false, false, 64);
    }
  }

  static Code PostAll(const std::vector<Use>& uses, Initiator& initiator) {
    std::vector<WorkRequest> requests;
    for (const Use& use : uses) requests.push_back(use.request);
    WorkRequest fence;
    fence.opcode = Opcode::kRead;
    fence.stag = uses.empty() ? 0 : uses[0].request.stag;
    if (!uses.empty()) requests.push_back(fence);
    const uint64_t deadline = NowNs() + 30'000'000'000;
    size_t posted = 0;
    size_t completed = 0;
    Code first = Code::kOk;
    while (completed < requests.size()) {
      while (posted < requests.size() && initiator.Post({&requests[posted], 1}) == 1) posted++;
      initiator.Flush();
      std::array<Completion, 32> got;
      const size_t count = initiator.Poll(got);
      for (size_t n = 0; n < count; n++) {
        if (got[n].code != Code::kOk && first == Code::kOk) first = got[n].code;
      }
      completed += count;
      if (first != Code::kOk) return first;  // the connection is not used any more
      if (count == 0 && completed < requests.size() && !initiator.Wait(20'000, deadline).ok()) {
        return Code::kTimeout;
      }
    }
    return Code::kOk;
  }

  void Settle(const Use& use) {
    for (uint64_t n = 0; n * kCellBytes < use.bytes.size(); n++) {
      const uint64_t cell = use.first + n;
      CellRecord& record = record_.cells[use.region][cell];
      if (!use.versions.empty()) {
        record.End(use.versions[n]);
        continue;
      }
      if (record.written() == CellRecord::kUnknown) continue;
      const CellBytes want = CellOf(use.region, cell, record.written());
      Must(std::equal(want.begin(), want.end(), use.bytes.begin() + ptrdiff_t(n * kCellBytes)),
           "read cell " + std::to_string(cell) + " of region " + std::to_string(use.region));
    }
  }

  Appliance& appliance_;
  KilledRecord& record_;
  const std::array<uint32_t, kKilledRegions>& stags_;
  const uint32_t index_;
  Random random_;
  std::unique_ptr<Initiator> initiator_;
};

}  // namespace farpage::test
