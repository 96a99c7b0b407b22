// Power loss while syncs go around the page cache (io_uring, O_DIRECT): the promises of
// power_loss_test.cc for scattered pages, many at a time, of a user's file and of a kept one.
#include <fcntl.h>

#include <array>
#include <set>

#include "appliance_fixture.h"
#include "check.h"
#include "os/io_ring.h"
#include "os/page_cache.h"
#include "power_loss.h"
#include "stores/kept_store.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 256;
const uint64_t kSize = kPages << kPageShift;
constexpr uint64_t kSectorBytes = 512;
// Enough scattered pages of one sync to go around the page cache.
constexpr size_t kPagesPerSync = 100;
constexpr int kSyncs = 4;

enum class Kind : uint8_t { kStagedFile, kMappedFile, kKept };

using Versions = std::array<uint64_t, kPages>;

std::vector<uint64_t> PageOf(uint64_t version) {
  return std::vector<uint64_t>(kPageBytes / sizeof(uint64_t), version);
}

// What was tried and promised when so many calls had been made.
struct Moment {
  size_t calls = 0;
  Versions tried{};
  Versions promised{};
};

// A region over a file whose blocks all exist, and what is known of its pages.
class Life {
 public:
  Life(Kind kind, const std::string& path, const CallRecord& calls) : calls_(calls) {
    if (kind == Kind::kKept) {
      MakeKept(path);
    } else {
      MakeFile(path);
      stag_ = kind == Kind::kStagedFile ? OpenStaged(path) : appliance_.OpenFile(path, true);
    }
    user_ = appliance_.Connect();
    Note();
  }

  // Writes scattered pages and syncs them.
  void Round(std::mt19937_64& random, bool fails) {
    std::set<PageIndex> pages;
    while (pages.size() < kPagesPerSync) pages.insert(random() % (kPages / 2) * 2);
    for (const PageIndex page : pages) {
      const auto bytes = PageOf(++version_);
      now_.tried[page] = version_;
      const Completion written = Write(*user_, stag_, page << kPageShift, bytes.data(),
                                       static_cast<uint32_t>(kPageBytes));
      CHECK_EQ(int(written.code), 0);
    }
    Note();
    const auto synced = appliance_.Sync();
    CHECK_EQ(synced.ok(), !fails);
    if (synced.ok()) now_.promised = now_.tried;
    Note();
  }

  // What held when the power went after `cut` calls; false: before the region was made.
  bool At(size_t cut, Moment* held) const {
    if (cut < moments_.front().calls) return false;
    for (const Moment& moment : moments_) {
      held->tried = moment.tried;  // of the call under way too
      if (moment.calls > cut) break;
      held->promised = moment.promised;
    }
    return true;
  }
  [[nodiscard]] const std::vector<Moment>& moments() const { return moments_; }

 private:
  void Note() {
    now_.calls = calls_.size();
    moments_.push_back(now_);
  }
  static void Empty(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    CHECK(file.valid());
    CHECK_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  }
  static void MakeFile(const std::string& path) {
    {
      const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
      const std::vector<std::byte> zeros(kSize);
      CHECK_EQ(::pwrite(file.get(), zeros.data(), kSize, 0), ssize_t(kSize));
      CHECK_EQ(::fsync(file.get()), 0);
      const std::string parent = path.substr(0, path.rfind('/'));
      const Fd folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      CHECK_EQ(::fsync(folder.get()), 0);
    }
    Empty(path);
  }
  uint32_t OpenStaged(const std::string& path) {
    auto store = FileStore::Open({path, 0, 0, true});
    CHECK(store.ok());
    return appliance_.OpenStaged(kSize, std::move(store).value());
  }
  // A kept region that has had every page written once.
  void MakeKept(const std::string& path) {
    const auto zero = FillValueStore::Value::kZero;
    auto kept = KeptStore::Open(path, kSize, true, std::make_unique<FillValueStore>(zero));
    CHECK(kept.ok());
    const std::vector<std::byte> zeros(kSize);
    PageImage image{{0, kPages}, zeros.data(), kSize, {}};
    CHECK(kept.value()->Write({&image, 1}).ok());
    CHECK(image.outcome.ok());
    CHECK(kept.value()->MakeDurable().ok());
    Empty(path);
    stag_ = appliance_.OpenStaged(kSize, std::move(kept).value());
  }

  const CallRecord& calls_;
  Appliance appliance_;
  uint32_t stag_ = 0;
  std::unique_ptr<Initiator> user_;
  uint64_t version_ = 0;
  Moment now_;
  std::vector<Moment> moments_;
};

// Each sector of each page is as it was synced, or newer.
void LookAt(const std::string& path, const Moment& held) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(file.valid());
  CHECK_EQ(::lseek(file.get(), 0, SEEK_END), off_t(kSize));
  std::vector<uint64_t> page(kPageBytes / sizeof(uint64_t));
  uint64_t wrong = 0;
  for (PageIndex n = 0; n < kPages; n++) {
    const auto at = static_cast<off_t>(n << kPageShift);
    CHECK_EQ(::pread(file.get(), page.data(), kPageBytes, at), ssize_t(kPageBytes));
    for (size_t word = 0; word < page.size(); word++) {
      const bool torn = page[word] != page[word - word % (kSectorBytes / sizeof(uint64_t))];
      if (torn || page[word] < held.promised[n] || page[word] > held.tried[n]) wrong++;
    }
  }
  CHECK_EQ(wrong, 0u);
}

// What writing around the page cache needs; where it is missing, power_loss_test.cc tells all.
bool GoesAround(const std::string& path) {
  const Fd direct(::open(path.c_str(), O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!direct.valid() || !IoRing::Create(2).ok()) return false;
  const std::vector<std::byte> zeros(kPageBytes);
  if (::pwrite(file.get(), zeros.data(), kPageBytes, 0) < 0 || ::fsync(file.get()) != 0) {
    return false;
  }
  return Uncache(file.get(), 0, kPageBytes);
}

void LosePower(Kind kind, bool failing_sync) {
  const TemporaryFolder probe;
  if (!GoesAround(probe.File("probe"))) SKIP("nothing goes around the page cache here");
  LivePowerLosses(1, [&](std::mt19937_64& random) {
    const TemporaryFolder folder;
    const CallRecord calls(folder.File(""), true);
    Life life(kind, folder.File("store"), calls);
    const int failing = failing_sync ? static_cast<int>(random() % (kSyncs - 1)) : -1;
    for (int round = 0; round < kSyncs; round++) {
      const CallFault fault(folder.File(""), kCallSync, round == failing ? 1 : 0, EIO);
      life.Round(random, round == failing);
    }
    CHECK(calls.ring_writes() > kPagesPerSync);
    // Around each end of a sync, and anywhere.
    std::set<size_t> cuts;
    for (const Moment& moment : life.moments()) {
      for (size_t cut = moment.calls; cut < moment.calls + 3; cut++) cuts.insert(cut);
      if (moment.calls != 0) cuts.insert(moment.calls - 1);
    }
    for (int any = 0; any < 20; any++) cuts.insert(random() % (calls.size() + 1));
    uint64_t losses = 0;
    for (const size_t cut : cuts) {
      Moment held;
      if (cut > calls.size() || !life.At(cut, &held)) continue;
      const TemporaryFolder left;
      calls.PowerLoss(cut, random, left.File(""));
      LookAt(left.File("store"), held);
      losses++;
    }
    return losses;
  });
}

}  // namespace

FARPAGE_TEST(power_loss_around_the_page_cache_leaves_what_was_synced_of_a_users_file) {
  LosePower(Kind::kStagedFile, false);
  LosePower(Kind::kMappedFile, false);
}
FARPAGE_TEST(power_loss_around_the_page_cache_leaves_what_was_synced_of_a_kept_file) {
  LosePower(Kind::kKept, false);
}
FARPAGE_TEST(power_loss_around_the_page_cache_though_an_fdatasync_failed) {
  LosePower(Kind::kStagedFile, true);
  LosePower(Kind::kMappedFile, true);
  LosePower(Kind::kKept, true);
}

}  // namespace farpage::test
