// One call that looks for a page in the page cache and begins to read it, and no other.
#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "appliance_fixture.h"
#include "check.h"
#include "memory/mapped_memory.h"
#include "os/page_cache.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 64;
constexpr uint64_t kLongestNs = 20'000'000'000;

// A file of which the page cache holds nothing, and may be asked for any page next.
struct ColdFile {
  ColdFile() {
    const std::vector<std::byte> bytes(kPages << kPageShift, std::byte{7});
    CHECK_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
    CHECK_EQ(::fsync(file.get()), 0);
    CHECK_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM), 0);
    Drop();
  }
  void Drop() const { CHECK_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0); }
  [[nodiscard]] bool Holds(PageIndex page) const {
    return CachedBytes(file.get(), page << kPageShift, kPageBytes, nullptr) == kPageBytes;
  }
  // Somebody else has begun to read it, which this looks for first, and it has come.
  [[nodiscard]] bool Comes(PageIndex page) const {
    const uint64_t deadline = NowNs() + kLongestNs;
    while (!Holds(page) && NowNs() < deadline) std::this_thread::yield();
    if (!Holds(page)) return false;
    while (SeekPage(file.get(), page << kPageShift) == Sought::kBegun && NowNs() < deadline) {
      std::this_thread::yield();
    }
    return SeekPage(file.get(), page << kPageShift) == Sought::kFound;
  }
  // Memory is a file system too, which never lets go; and old kernels cannot tell.
  [[nodiscard]] bool tells() const {
    return !Holds(0) && SeekPage(file.get(), 0) != Sought::kUnknown;
  }

  const TemporaryFolder folder;
  const Fd file{::open(folder.File("data").c_str(), O_RDWR | O_CREAT, 0600)};
};

}  // namespace

FARPAGE_TEST(seek_page_begins_to_read_the_page_that_it_does_not_find) {
  const ColdFile cold;
  CHECK(SeekPage(cold.file.get(), kPages << kPageShift) == Sought::kUnknown);  // the end
  if (!cold.tells()) SKIP("no file here that the page cache lets go of and looks for");
  CHECK(SeekPage(cold.file.get(), 9 << kPageShift) != Sought::kUnknown);
  CHECK(cold.Comes(9));
  CHECK(SeekPage(cold.file.get(), 9 << kPageShift) == Sought::kFound);
  for (PageIndex page = 1; page < kPages; page++) CHECK(page == 9 || !cold.Holds(page));
}

FARPAGE_TEST(seek_page_by_mapped_memory_needs_no_other_start) {
  const ColdFile cold;
  if (!cold.tells()) SKIP("no file here that the page cache lets go of and looks for");
  auto made = MappedMemory::Create(cold.file.get(), 0, kPages << kPageShift, false);
  REQUIRE(made.ok());
  MappedMemory& memory = *made.value();
  (void)memory.PopulatesInPlace({9, 1});
  CHECK(cold.Comes(9));
  CHECK_EQ(memory.PopulatesInPlace({9, 1}), 1u);
  // What no look has begun is begun, other pages and that one again.
  (void)memory.PopulatesInPlace({20, 1});
  memory.StartRead({30, 1});
  CHECK(cold.Comes(30));
  memory.StartRead({20, 1});
  CHECK(cold.Comes(20));
  cold.Drop();
  CHECK(!cold.Holds(20));
  memory.StartRead({20, 1});
  CHECK(cold.Comes(20));
}

FARPAGE_TEST(seek_page_is_not_what_dropping_private_copies_does) {
  const ColdFile cold;
  if (!cold.tells()) SKIP("no file here that the page cache lets go of and looks for");
  auto made = MappedMemory::Create(cold.file.get(), 0, kPages << kPageShift, true);
  REQUIRE(made.ok());
  MappedMemory& memory = *made.value();
  REQUIRE(memory.PopulateToWrite({9, 1}).ok());
  cold.Drop();
  CHECK(!cold.Holds(9));
  const PageRun run{9, 1};
  memory.DropPrivateCopies({&run, 1});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!cold.Holds(9));
}

}  // namespace farpage::test
