// The n-th call to the store fails, for every n that a scenario reaches: each time it must end
// cleanly, tell the error, lose nothing that it said was written, and succeed once the fault has
// gone.
#include <cstdio>

#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 24;

// A small life: writes, reads, syncs of both kinds, more pages than the budget holds.
class Scenario {
 public:
  Scenario(uint64_t nth, uint32_t kinds, int error)
      : faulty_({kPages, 8, true, 2}), error_(CodeOfErrno(error)), model_(kPages << kPageShift) {
    faulty_.memory->private_copies = (kinds & kFaultyRead) == 0;
    faulty_.plan.Arm(kinds, nth, error);
  }

  // True while the fault was reached.
  bool Run() {
    for (uint32_t page = 0; page < kPages; page++) Put(page * kPageBytes + 17 * page, page + 1);
    Sync(false);
    for (uint32_t page = 0; page < kPages; page += 3) Put(page * kPageBytes + 4000, page + 2);
    for (uint32_t page = 0; page < kPages; page++) Get(page);
    Sync(true);
    Put(5, 99);
    Sync(true);
    const bool reached = faulty_.plan.reached();
    // The fault has gone: everything that was said to be written gets where it belongs.
    const auto synced = faulty_.appliance.Sync(true);
    CHECK_EQ(int(synced.ok() ? Code::kOk : synced.error().code), int(Code::kOk));
    CHECK_EQ(faulty_.appliance.region->table->dirty(), 0u);
    CHECK(faulty_.store->Durable() == model_);
    for (uint32_t page = 0; page < kPages; page++) Get(page);
    CHECK(failures_ <= 1);
    initiator_.reset();
    CheckQuiet(faulty_.appliance);
    return reached;
  }

 private:
  // The one fault is told to somebody, with its code; then the same must succeed.
  template <typename Attempt>
  void Twice(Attempt attempt) {
    for (int n = 0; n < 3; n++) {
      if (initiator_ == nullptr) initiator_ = faulty_.appliance.Connect(false, false, 8);
      const Code code = attempt();
      if (code == Code::kOk) return;
      CHECK_EQ(int(code), int(error_));
      failures_++;
      initiator_.reset();
    }
    CHECK(false);
  }
  void Put(uint64_t offset, uint32_t value) {
    const auto byte = static_cast<std::byte>(value);
    Twice([&] { return Write(*initiator_, faulty_.stag, offset, &byte, 1).code; });
    model_[offset] = byte;
  }
  void Get(uint64_t page) {
    std::vector<std::byte> got(kPageBytes);
    const uint64_t offset = page << kPageShift;
    Twice([&] {
      return Read(*initiator_, faulty_.stag, offset, got.data(), uint32_t(kPageBytes)).code;
    });
    CHECK(std::memcmp(got.data(), model_.data() + offset, kPageBytes) == 0);
  }
  void Sync(bool durable) {
    const auto synced = faulty_.appliance.Sync(durable);
    if (synced.ok()) return;
    CHECK_EQ(int(synced.error().code), int(error_));
    failures_++;
    CHECK(faulty_.appliance.region->table->dirty() > 0);
  }

  FaultyAppliance faulty_;
  const Code error_;
  std::vector<std::byte> model_;
  std::unique_ptr<Initiator> initiator_;
  int failures_ = 0;
};

void FailEach(uint32_t kinds, int error, uint64_t least) {
  constexpr uint64_t kCallsMax = 500;
  uint64_t nth = 1;
  while (nth < kCallsMax && Scenario(nth, kinds, error).Run()) nth++;
  std::printf("%llu calls failed, one by one\n", static_cast<unsigned long long>(nth - 1));
  CHECK(nth - 1 >= least);
  CHECK(nth < kCallsMax);
}

}  // namespace

FARPAGE_TEST(faulty_nth_read_fails_with_eio) { FailEach(kFaultyRead, EIO, kPages); }
FARPAGE_TEST(faulty_nth_populate_finds_no_memory) { FailEach(kFaultyRead, ENOMEM, kPages); }
FARPAGE_TEST(faulty_nth_write_fails_with_eio) { FailEach(kFaultyWrite, EIO, 4); }
FARPAGE_TEST(faulty_nth_write_finds_no_space) { FailEach(kFaultyWrite, ENOSPC, 4); }
FARPAGE_TEST(faulty_nth_fdatasync_fails) { FailEach(kFaultySync, EIO, 2); }

}  // namespace farpage::test
