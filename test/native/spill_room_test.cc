// What a spill file takes of its file system.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <filesystem>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

constexpr uint64_t kCapacity = 16384;  // 64 MiB

// A spill file of which pages are put and freed as an appliance does.
class Spilled {
 public:
  Spilled() {
    auto made = SpillTier::Open(folder_.File("."), kCapacity << kPageShift);
    auto buffer = Mapping::Anonymous(kBatch << kPageShift);
    REQUIRE(buffer.ok());
    buffer_ = std::move(buffer).value();
    if (made.ok()) tier_ = std::move(made).value();
  }
  [[nodiscard]] bool opened() const { return tier_ != nullptr; }

  // At most kBatch.
  void Put(uint64_t pages) {
    std::vector<TierPage> batch;
    for (uint64_t n = 0; n < pages; n++) {
      std::byte* at = buffer_.data() + (n << kPageShift);
      std::fill_n(reinterpret_cast<uint64_t*>(at), kWords, version_ + n);
      batch.push_back({at, 0, {}});
    }
    tier_->Put(batch);
    for (const TierPage& page : batch) {
      REQUIRE(page.outcome.ok());
      held_.push_back({page.slot, version_++});
    }
  }
  void FreeOldest(uint64_t pages) {
    for (uint64_t n = 0; n < pages; n++) {
      tier_->Free(held_.front().slot);
      held_.pop_front();
    }
  }
  // All but every n-th.
  void Thin(uint64_t n) {
    std::deque<Held> left;
    for (uint64_t at = 0; at < held_.size(); at++) {
      if (at % n == 0) {
        left.push_back(held_[at]);
      } else {
        tier_->Free(held_[at].slot);
      }
    }
    held_.swap(left);
  }
  void CheckBytes() {
    const auto* words = reinterpret_cast<const uint64_t*>(buffer_.data());
    for (const Held& page : held_) {
      REQUIRE(tier_->Get(page.slot, buffer_.data()).ok());
      REQUIRE(std::count(words, words + kWords, page.version) == int64_t(kWords));
    }
  }
  // Pages that the file has blocks for.
  [[nodiscard]] uint64_t Blocks() const {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code none;
      const std::string path = std::filesystem::read_symlink(entry.path(), none).string();
      struct stat status {};
      if (!path.starts_with(folder_.File("#"))) continue;
      CHECK_EQ(::stat(entry.path().c_str(), &status), 0);
      return static_cast<uint64_t>(status.st_blocks) * 512 >> kPageShift;
    }
    CHECK(false);
    return 0;
  }

 private:
  struct Held {
    TierSlot slot = 0;
    uint64_t version = 0;
  };
  static constexpr uint64_t kBatch = 256;
  static constexpr size_t kWords = 4096 / sizeof(uint64_t);
  TemporaryFolder folder_;
  std::unique_ptr<SpillTier> tier_;
  Mapping buffer_;  // aligned, as O_DIRECT asks
  std::deque<Held> held_;
  uint64_t version_ = 0;
};

bool HolesCanBeMade() {
  const TemporaryFolder folder;
  const Fd file(::open(folder.File("probe").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const auto bytes = static_cast<off_t>(kPageBytes);
  return ::fallocate(file.get(), 0, 0, bytes) == 0 &&
         ::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, bytes) == 0;
}

// What a file system keeps about the blocks of a file counts too.
constexpr uint64_t kOwnBlocks = 64;

}  // namespace

FARPAGE_TEST(spill_room_goes_back_to_the_file_system_with_its_pages) {
  Spilled spilled;
  if (!spilled.opened()) SKIP("no unnamed files here");
  if (!HolesCanBeMade()) SKIP("no holes can be made here");
  for (int n = 0; n < 32; n++) spilled.Put(256);
  CHECK(spilled.Blocks() >= 8192);
  spilled.FreeOldest(8192 - 512);
  spilled.CheckBytes();
  // What is left, and a group that was not yet given back: within reach, and once at the end.
  CHECK(spilled.Blocks() <= (kSlotReach + 1) * (512 + kSlotGroup) + kSlotGroup + kOwnBlocks);
  spilled.FreeOldest(512);
  CHECK(spilled.Blocks() <= kOwnBlocks);
}

// As pages come and go, few of them at a time, places far behind are left alone.
FARPAGE_TEST(spill_room_is_used_again_before_more_is_taken) {
  Spilled spilled;
  if (!spilled.opened()) SKIP("no unnamed files here");
  for (int n = 0; n < 4; n++) spilled.Put(100);
  for (int n = 0; n < 60; n++) {
    spilled.Put(100);
    spilled.FreeOldest(100);
    CHECK(spilled.Blocks() <= kSlotReach * 500 + kSlotGroup + kOwnBlocks);
  }
  spilled.CheckBytes();
}

// Pages that stay keep their groups and no others.
FARPAGE_TEST(spill_room_of_what_stays_is_not_touched) {
  Spilled spilled;
  if (!spilled.opened()) SKIP("no unnamed files here");
  for (int n = 0; n < 16; n++) spilled.Put(256);
  spilled.Thin(300);
  spilled.CheckBytes();
  for (int n = 0; n < 20; n++) {
    spilled.Put(64);
    spilled.CheckBytes();
  }
  spilled.Thin(2);
  spilled.CheckBytes();
}

}  // namespace farpage::test
