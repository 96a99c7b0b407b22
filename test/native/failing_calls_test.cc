// The n-th system call on a store's or a memory directory's files fails, for every n that the life
// of a region reaches: nothing that was written is lost while its process lives, nothing that was
// synced ever, somebody is told the code, and all goes on once the fault has gone.
#include <fcntl.h>

#include <cstdio>
#include <optional>

#include "faulty_fixture.h"
#include "region_life.h"

namespace farpage::test {
namespace {

class FailingLife {
 public:
  FailingLife(LifeOptions options, uint32_t kinds, uint64_t nth, int error)
      : error_(error), life_(Below(options, folder_), &told_) {
    fault_.emplace(folder_.File(""), kinds, nth, error);
  }

  // True while the fault was reached.
  bool Run() {
    Must([&] { return life_.Start(); });
    for (PageIndex page = 0; page < kLifePages; page += 2) Must([&] { return life_.Put(page); });
    Must([&] { return life_.Sync(false); });
    for (PageIndex page = 0; page < kLifePages; page += 6) Must([&] { return life_.Put(page); });
    for (PageIndex page = 0; page < kLifePages; page++) Must([&] { return life_.Get(page); });
    Must([&] { return life_.Sync(); });
    CHECK_EQ(life_.region().table->dirty(), 0u);
    life_.Stop();
    Must([&] { return life_.Start(); });
    for (PageIndex page = 0; page < kLifePages; page++) Must([&] { return life_.Get(page); });
    for (PageIndex page = 1; page < 9; page += 2) Must([&] { return life_.Put(page); });
    Must([&] { return life_.Sync(); });
    CheckQuiet(life_.appliance());
    life_.Stop();
    CHECK(failures_ <= 1);
    const bool reached = fault_->reached();
    fault_.reset();
    Must([&] { return life_.Start(); });
    life_.CheckFound();
    life_.Stop();
    return reached;
  }

 private:
  static LifeOptions Below(LifeOptions options, const TemporaryFolder& folder) {
    options.folder = folder.File("");
    if (options.store == LifeStore::kFile) MakeLifeFile(options.folder);
    return options;
  }

  // One failure, with its code, and then it does well.
  template <typename Attempt>
  void Must(Attempt attempt) {
    Code code = attempt();
    if (code == Code::kOk) return;
    failures_++;
    CHECK_EQ(int(code), int(CodeOfErrno(error_)));
    code = attempt();
    CHECK_EQ(int(code), int(Code::kOk));
  }

  const int error_;
  const TemporaryFolder folder_;
  Intentions told_;
  RegionLife life_;
  std::optional<CallFault> fault_;
  int failures_ = 0;
};

void FailEach(const LifeOptions& options, uint32_t kinds, int error, uint64_t least) {
  constexpr uint64_t kCallsMax = 1000;
  uint64_t nth = 1;
  while (nth < kCallsMax && FailingLife(options, kinds, nth, error).Run()) nth++;
  std::printf("%llu calls failed, one by one\n", static_cast<unsigned long long>(nth - 1));
  CHECK(nth - 1 >= least);
  CHECK(nth < kCallsMax);
}

}  // namespace

FARPAGE_TEST(calls_of_a_kept_file_find_no_space_one_by_one) {
  FailEach({LifeStore::kKeptOne, false, {}}, kCallsThatWrite, ENOSPC, 20);
}
FARPAGE_TEST(calls_of_a_kept_file_meet_bad_blocks_one_by_one) {
  FailEach({LifeStore::kKeptZero, false, {}}, kCallsThatWrite | kCallRead, EIO, 20);
}
FARPAGE_TEST(calls_of_a_staged_file_find_no_space_one_by_one) {
  FailEach({LifeStore::kFile, true, {}}, kCallsThatWrite, ENOSPC, 20);
}
FARPAGE_TEST(calls_of_a_staged_file_meet_bad_blocks_one_by_one) {
  FailEach({LifeStore::kFile, false, {}}, kCallsThatWrite | kCallRead, EIO, 20);
}
FARPAGE_TEST(calls_of_a_memory_directory_fail_one_by_one) {
  FailEach({LifeStore::kKeptOne, true, {}}, kCallsThatWrite, EIO, 20);
}

}  // namespace farpage::test
