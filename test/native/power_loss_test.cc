// Power loss: only what was made durable is sure to be there. The writes and barriers of a region's
// life are recorded; what a loss at any of them may leave is built, opened and compared with what
// had been promised by then.
#include <vector>

#include "power_loss.h"
#include "region_life.h"

namespace farpage::test {
namespace {

constexpr uint64_t kSectorBytes = 512;

// What was intended and promised when so many calls had been made.
struct Moment {
  size_t calls = 0;
  Intentions told;
};

struct Lived {
  std::vector<Moment> moments;
  // What held when the power was lost after `cut` calls: promised by then, and tried.
  [[nodiscard]] Intentions At(size_t cut) const {
    Intentions told;
    for (const Moment& moment : moments) {
      told.tried = moment.told.tried;  // of the call under way too
      if (moment.calls > cut) break;
      told.promised = moment.told.promised;
    }
    return told;
  }
};

// Writes, flushes, syncs and evictions of one process, in an order of the seed's.
void Live(const LifeOptions& options, uint64_t seed, uint64_t failing, const CallRecord& calls,
          Lived* lived) {
  Intentions told;
  RegionLife life(options, &told);
  const auto note = [&] { lived->moments.push_back({calls.size(), told}); };
  CHECK_EQ(int(life.Start()), int(Code::kOk));
  note();
  std::mt19937_64 random(seed);
  const CallFault fault(options.folder, kCallSync, failing, EIO);
  for (int n = 0; n < 60; n++) {
    const uint64_t what = random() % 8;
    if (what < 6) {
      CHECK_EQ(int(life.Put(random() % (kLifePages - 4))), int(Code::kOk));
    } else {
      (void)life.Sync(what == 7);  // one may fail: then it promised nothing
    }
    note();
  }
  // The one that fails may be the last one.
  if (life.Sync() != Code::kOk) {
    CHECK(fault.reached());
    note();
    CHECK_EQ(int(life.Sync()), int(Code::kOk));
  }
  note();
  life.Stop();
}

uint64_t SectorAt(const std::vector<std::byte>& page, uint64_t sector) {
  uint64_t word = 0;
  std::memcpy(&word, page.data() + sector * kSectorBytes, sizeof(word));
  for (uint64_t at = 0; at < kSectorBytes; at += sizeof(word)) {
    CHECK(std::memcmp(page.data() + sector * kSectorBytes + at, &word, sizeof(word)) == 0);
  }
  return word;
}

// A user's file that nobody else writes: as long as before, and each page is as it was synced, or
// newer, sector by sector. What was never written is as it was.
void LookAtFile(const std::string& path, const Intentions& told) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  CHECK(file.valid());
  CHECK_EQ(::lseek(file.get(), 0, SEEK_END), off_t(kLifePages << kPageShift));
  std::vector<std::byte> page(kPageBytes);
  for (PageIndex n = 0; n < kLifePages; n++) {
    const auto at = static_cast<off_t>(n << kPageShift);
    CHECK_EQ(::pread(file.get(), page.data(), page.size(), at), ssize_t(page.size()));
    for (uint64_t sector = 0; sector < kPageBytes / kSectorBytes; sector++) {
      const uint64_t found = SectorAt(page, sector);
      CHECK(found >= told.promised[n] && found <= told.tried[n]);
    }
  }
}

// Opens what a power loss has left, and looks at each page.
void Look(const LifeOptions& options, const Intentions& told) {
  if (IsFile(options.store)) return LookAtFile(options.folder + "store", told);
  const uint64_t size = kLifePages << kPageShift;
  const uint64_t fill = options.store == LifeStore::kKeptOne ? ~uint64_t{0} : 0;
  const auto value = fill == 0 ? FillValueStore::Value::kZero : FillValueStore::Value::kOne;
  auto kept = KeptStore::Open(options.folder + "/store", size, false,
                              std::make_unique<FillValueStore>(value));
  CHECK(kept.ok());
  if (!kept.ok()) return;
  std::vector<std::byte> page(kPageBytes);
  for (PageIndex n = 0; n < kLifePages; n++) {
    const uint64_t read = kept.value()->pages_read();
    CHECK(kept.value()->Read({n, 1}, page.data()).ok());
    const uint64_t first = SectorAt(page, 0);
    if (first == fill) {
      // A hole: nobody was promised anything of it, and it is filled whole, unread.
      CHECK_EQ(told.promised[n], 0u);
      CHECK_EQ(kept.value()->pages_read(), read);
    }
    for (uint64_t sector = 0; sector < kPageBytes / kSectorBytes; sector++) {
      const uint64_t found = SectorAt(page, sector);
      if (first == fill) {
        CHECK_EQ(found, fill);
      } else {
        CHECK(found >= told.promised[n] && found <= told.tried[n]);
      }
    }
  }
}

void LosePower(LifeStore store, bool failing_syncs) {
  LivePowerLosses(3, [&](std::mt19937_64& random) {
    const TemporaryFolder folder;
    const CallRecord calls(folder.File(""));
    Lived lived;
    if (IsFile(store)) MakeLifeFile(folder.File(""));
    const uint64_t failing = failing_syncs ? 1 + random() % 6 : 0;
    Live({store, false, folder.File("")}, random(), failing, calls, &lived);
    // After every call, barriers among them; from where the region was known to be made.
    uint64_t losses = 0;
    for (size_t cut = lived.moments.front().calls; cut <= calls.size(); cut++) {
      const TemporaryFolder left;
      calls.PowerLoss(cut, random, left.File(""));
      Look({store, false, left.File("")}, lived.At(cut));
      losses++;
    }
    return losses;
  });
}

}  // namespace

FARPAGE_TEST(power_loss_leaves_what_was_synced_of_a_kept_file) {
  LosePower(LifeStore::kKeptOne, false);
}
FARPAGE_TEST(power_loss_leaves_what_was_synced_though_an_fdatasync_failed) {
  LosePower(LifeStore::kKeptZero, true);
}

// A user's file, without a journal: page by page, as msync(2) promises.
FARPAGE_TEST(power_loss_leaves_what_was_synced_of_a_users_file) {
  LosePower(LifeStore::kMappedFile, false);
  LosePower(LifeStore::kFile, false);
}
FARPAGE_TEST(power_loss_leaves_what_was_synced_of_a_users_file_though_an_fdatasync_failed) {
  LosePower(LifeStore::kMappedFile, true);
  LosePower(LifeStore::kFile, true);
}

// The file gets its name when it is whole, and has it for good once Open returns.
FARPAGE_TEST(power_loss_leaves_a_kept_file_whole_or_not_at_all) {
  std::mt19937_64 random(NowNs());
  const TemporaryFolder folder;
  const uint64_t size = kLifePages << kPageShift;
  const auto zero = [] { return std::make_unique<FillValueStore>(FillValueStore::Value::kZero); };
  const CallRecord calls(folder.File(""));
  CHECK(KeptStore::Open(folder.File("store"), size, true, zero()).ok());
  for (int n = 0; n < 200; n++) {
    const size_t cut = random() % (calls.size() + 1);
    const TemporaryFolder left;
    calls.PowerLoss(cut, random, left.File(""));
    {
      const auto found = KeptStore::Open(left.File("store"), size, false, zero());
      if (cut == calls.size()) CHECK(found.ok());
      if (found.ok()) {
        CHECK_EQ(found.value()->KeptPages({0, kLifePages}), 0u);
      } else {
        CHECK_EQ(int(found.error().code), int(Code::kFileNotFound));
      }
    }
    // And it can be made there.
    CHECK(KeptStore::Open(left.File("store"), size, true, zero()).ok());
  }
}

}  // namespace farpage::test
