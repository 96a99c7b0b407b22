// Pages written around the page cache: when, when not, and what everybody else then sees.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <cstring>
#include <span>

#include "appliance_fixture.h"
#include "check.h"
#include "os/io_ring.h"
#include "os/page_cache.h"
#include "os/thread.h"
#include "short_cores.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 4096;  // eight folios of 2 MiB
constexpr uint64_t kStep = 32;     // every so many pages one is written
constexpr uint64_t kReadStep = 128 * 1024;
const uint64_t kSize = kPages << kPageShift;

std::byte ByteOf(PageIndex page, int round) {
  return static_cast<std::byte>((page * 31 + static_cast<uint64_t>(round) * 7) & 0xFF);
}

void FillPage(std::byte* at, PageIndex page, int round) {
  std::memset(at, static_cast<int>(ByteOf(page, round)), kPageBytes);
}

// A file of allocated blocks, all of it in the page cache, in as large folios as the kernel likes.
void MakeHotFile(const std::string& path, uint64_t size) {
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
  std::vector<std::byte> bytes((size + kPageBytes - 1) & ~(kPageBytes - 1));
  for (PageIndex page = 0; page << kPageShift < size; page++) {
    FillPage(bytes.data() + (page << kPageShift), page, 0);
  }
  CHECK_EQ(::pwrite(file.get(), bytes.data(), size, 0), ssize_t(size));
  CHECK_EQ(::fsync(file.get()), 0);
  CHECK_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  // Step by step: the kernel's read-ahead takes larger folios as it goes on.
  for (uint64_t at = 0; at < size; at += kReadStep) {
    const uint64_t step = std::min(kReadStep, size - at);
    CHECK_EQ(::pread(file.get(), bytes.data() + at, step, off_t(at)), ssize_t(step));
  }
}

bool Cached(int fd, PageIndex page) {
  return CachedBytes(fd, page << kPageShift, kPageBytes, nullptr) == kPageBytes;
}

// What O_DIRECT, io_uring and cachestat need; where one is missing everything is buffered.
bool GoesAround(const std::string& path) {
  const Fd direct(::open(path.c_str(), O_WRONLY | O_DIRECT));
  const Fd file(::open(path.c_str(), O_RDONLY));
  if (!direct.valid() || !IoRing::Create(2).ok()) return false;
  Uncache(file.get(), 0, kPageBytes);
  return !Cached(file.get(), 0);
}

// Images of every kStep-th page, from memory of their own.
struct Images {
  explicit Images(int round, PageIndex first = 0, uint64_t size = kSize) {
    bytes.resize(kSize / kStep + (kPageBytes << 1));
    auto* at = reinterpret_cast<std::byte*>(
        (reinterpret_cast<uintptr_t>(bytes.data()) + kPageBytes - 1) & ~(kPageBytes - 1));
    for (PageIndex page = first; page << kPageShift < size; page += kStep, at += kPageBytes) {
      FillPage(at, page, round);
      images.push_back({{page, 1}, at, std::min(kPageBytes, size - (page << kPageShift)), {}});
    }
  }
  std::vector<std::byte> bytes;
  std::vector<PageImage> images;
};

// Reads the whole file as any program would, and compares.
void CheckFile(const std::string& path, int round, PageIndex first = 0, uint64_t size = kSize) {
  const Fd file(::open(path.c_str(), O_RDONLY));
  std::vector<std::byte> bytes(size);
  CHECK_EQ(::pread(file.get(), bytes.data(), size, 0), ssize_t(size));
  uint64_t wrong = 0;
  for (uint64_t at = 0; at < size; at++) {
    const PageIndex page = at >> kPageShift;
    wrong += bytes[at] != ByteOf(page, page % kStep == first ? round : 0) ? 1 : 0;
  }
  CHECK_EQ(wrong, 0u);
}

std::unique_ptr<FileStore> OpenStore(const std::string& path) {
  auto store = FileStore::Open({path, 0, 0, true});
  if (!store.ok()) std::abort();
  return std::move(store).value();
}

void CheckWritten(FileStore& store, Images& made) {
  CHECK(store.Write(made.images).ok());
  for (const PageImage& image : made.images) CHECK(image.outcome.ok());
  CHECK(store.MakeDurable().ok());
}

// io_uring_setup(2) fails with EPERM on this thread and those it starts.
void ForbidRings() {
  std::array<sock_filter, 4> program = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), program.data()};
  CHECK_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  CHECK_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

}  // namespace

FARPAGE_TEST(direct_writes_leave_the_neighbours_in_the_page_cache) {
  const TemporaryFolder folder;
  const std::string path = folder.File("data");
  MakeHotFile(path, kSize);
  if (!GoesAround(path)) return Skip("no O_DIRECT, io_uring or cachestat here");
  auto store = OpenStore(path);
  Images made(1);
  CheckWritten(*store, made);
  CHECK_EQ(store->direct_pages(), made.images.size());
  uint64_t neighbours = 0;
  for (PageIndex page = 0; page < kPages; page++) {
    if (page % kStep == 0) {
      CHECK(!Cached(store->fd(), page));
    } else {
      neighbours += Cached(store->fd(), page) ? 1 : 0;
    }
  }
  // O_DIRECT alone throws out whole folios; a few pages may go for reasons of the kernel's own.
  CHECK(neighbours > kPages * 9 / 10);
  CheckFile(path, 1);
  Images again(2);  // now that all of it is in the page cache once more
  CheckWritten(*store, again);
  CheckFile(path, 2);
}

FARPAGE_TEST(direct_writes_spare_pages_that_somebody_maps) {
  const TemporaryFolder folder;
  const std::string path = folder.File("data");
  MakeHotFile(path, kSize);
  const Fd other(::open(path.c_str(), O_RDONLY));
  auto mapping = Mapping::OfFile(other.get(), 0, kSize, PROT_READ, MAP_SHARED);
  REQUIRE(mapping.ok());
  const volatile std::byte* seen = mapping.value().data();
  for (PageIndex page = 0; page < kPages; page++) (void)seen[page << kPageShift];
  auto store = OpenStore(path);
  Images made(3);
  CheckWritten(*store, made);
  for (PageIndex page = 0; page < kPages; page++) {
    CHECK(seen[page << kPageShift] == ByteOf(page, page % kStep == 0 ? 3 : 0));
  }
  CheckFile(path, 3);
}

FARPAGE_TEST(direct_writes_end_with_the_file) {
  const TemporaryFolder folder;
  const std::string path = folder.File("data");
  const uint64_t size = kSize - 100;  // the last page is partial
  MakeHotFile(path, size);
  auto store = OpenStore(path);
  Images made(4, kStep - 1, size);
  CHECK_EQ(made.images.back().length_bytes, kPageBytes - 100);
  CheckWritten(*store, made);
  CheckFile(path, 4, kStep - 1, size);
  struct stat status{};
  CHECK_EQ(::stat(path.c_str(), &status), 0);
  CHECK_EQ(uint64_t(status.st_size), size);
  CHECK_EQ(::truncate(path.c_str(), off_t(kSize / 2)), 0);
  Images cut(5, kStep - 1, size);
  CHECK(store->Write(cut.images).ok());
  for (const PageImage& image : cut.images) {
    const bool inside = image.run.end() <= kPages / 2;
    CHECK_EQ(int(image.outcome.ok() ? Code::kOk : image.outcome.error().code),
             int(inside ? Code::kOk : Code::kFileChanged));
  }
  CHECK_EQ(::stat(path.c_str(), &status), 0);
  CHECK_EQ(uint64_t(status.st_size), kSize / 2);  // it has not grown again
  CheckFile(path, 5, kStep - 1, kSize / 2);
}

FARPAGE_TEST(direct_writes_are_buffered_where_io_uring_is_forbidden) {
  const TemporaryFolder folder;
  const std::string path = folder.File("data");
  MakeHotFile(path, kSize);
  Thread("forbidden", [&] {
    ForbidRings();
    CHECK(!IoRing::Create(2).ok());
    auto store = OpenStore(path);
    Images made(6);
    CheckWritten(*store, made);
    CHECK_EQ(store->direct_pages(), 0u);
  }).Join();
  CheckFile(path, 6);
}

FARPAGE_TEST(direct_writes_are_buffered_into_holes_and_in_memory) {
  const TemporaryFolder folder;
  const std::string sparse = folder.File("sparse");
  const std::string in_memory = "/dev/shm/farpage-direct-" + std::to_string(::getpid());
  for (const std::string& path : {sparse, in_memory}) {
    {
      const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600));
      if (!file.valid()) continue;  // no /dev/shm
      CHECK_EQ(::ftruncate(file.get(), off_t(kSize)), 0);
    }
    auto store = OpenStore(path);
    Images made(7);
    CheckWritten(*store, made);
    std::vector<std::byte> bytes(kPageBytes);
    for (PageIndex page = 0; page < kPages; page++) {
      CHECK(store->Read({page, 1}, bytes.data()).ok());
      CHECK(bytes[9] == (page % kStep == 0 ? ByteOf(page, 7) : std::byte{0}));
    }
  }
  ::unlink(in_memory.c_str());
}

FARPAGE_TEST(direct_writes_keep_the_copies_that_readers_have) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  MakeHotFile(path, kSize);
  const uint32_t stag = appliance.OpenFile(path, true);
  auto client = appliance.Connect();
  std::vector<std::byte> bytes(kPageBytes);
  const auto check = [&](int round) {
    for (PageIndex page = 0; page < kPages; page++) {
      CHECK_EQ(int(Read(*client, stag, page << kPageShift, bytes.data(), 64).code), 0);
      CHECK(bytes[63] == ByteOf(page, page % kStep == 0 ? round : 0));
    }
  };
  for (int round = 1; round <= 3; round++) {
    for (PageIndex page = 0; page < kPages; page += kStep) {
      FillPage(bytes.data(), page, round);
      CHECK_EQ(int(Write(*client, stag, page << kPageShift, bytes.data(),
                         uint32_t(kPageBytes)).code), 0);
    }
    auto receipt = appliance.Sync();
    REQUIRE(receipt.ok());
    CHECK_EQ(receipt.value().pages_written, kPages / kStep);
    CHECK_EQ(appliance.region->table->dirty(), 0u);
    // A page is in the page cache, or its copy in the region's memory was kept: without that the
    // first reader would meet a fault that waits for the device.
    std::vector<unsigned char> resident(1);
    for (PageIndex page = 0; page < kPages; page += kStep) {
      std::byte* at = appliance.region->memory->address() + (page << kPageShift);
      CHECK_EQ(::mincore(at, kPageBytes, resident.data()), 0);
      CHECK_EQ(resident[0] & 1, 1);
    }
    CheckFile(path, round);
    check(round);
    // Evicted, the pages come from the file again, and the kept copies are gone.
    appliance.pager.Reclaim(appliance.region, {0, kPages});
    CHECK_EQ(appliance.region->table->present(), 0u);
    check(round);
  }
}

FARPAGE_TEST(write_hints_clear_the_page_cache_before_the_sync) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  MakeHotFile(path, kSize);
  if (!GoesAround(path)) return Skip("no O_DIRECT, io_uring or cachestat here");
  const uint32_t stag = appliance.OpenFile(path, true);
  auto client = appliance.Connect();
  std::vector<std::byte> bytes(kPageBytes);
  for (PageIndex page = 0; page < kPages; page += kStep) {
    FillPage(bytes.data(), page, 1);
    CHECK_EQ(int(Write(*client, stag, page << kPageShift, bytes.data(),
                       uint32_t(kPageBytes)).code), 0);
  }
  const int fd = appliance.file->fd();
  const auto left = [&] {
    uint64_t cached = 0;
    for (PageIndex page = 0; page < kPages; page += kStep) cached += Cached(fd, page) ? 1 : 0;
    return cached;
  };
  // A write that took longer than kHintRestNs after its hint brought its page back: a hint is not
  // given twice, and the sync clears what is left. On a busy machine that is a page or two.
  constexpr uint64_t kLeftMax = kPages / kStep / 8;
  const uint64_t deadline = NowNs() + 20'000'000'000;
  while (left() > kLeftMax && NowNs() < deadline) std::this_thread::yield();
  CHECK(left() <= kLeftMax);
  CHECK(Cached(fd, 1));
  // Nothing was written, and nothing lost: the dirty bytes are the region's alone.
  CHECK_EQ(appliance.file->direct_pages(), 0u);
  CHECK_EQ(appliance.region->table->dirty(), kPages / kStep);
  CHECK_EQ(int(Read(*client, stag, kStep << kPageShift, bytes.data(), 64).code), 0);
  CHECK(bytes[0] == ByteOf(kStep, 1));
  CheckFile(path, 0);
}

// A thread that writes beside one that answers, with too few cores for both, keeps its core for one
// page at a time, or for a few runs, and all get written.
FARPAGE_TEST(direct_writes_are_few_at_a_time_while_cores_are_short) {
  const TemporaryFolder folder;
  const std::string path = folder.File("data");
  MakeHotFile(path, kSize);
  if (!GoesAround(path)) return Skip("no O_DIRECT, io_uring or cachestat here");
  const auto peak = [&](int round, Holes holes) {
    const Fd file(::open(path.c_str(), O_RDWR));
    DirectFile direct(file.get(), 0);
    auto writer = DirectWriter::Create(direct, holes);
    if (!writer.ok()) std::abort();
    Images made(round);
    std::vector<PageImage*> left;
    for (PageImage& image : made.images) {
      if (!writer.value()->Begin(&image)) left.push_back(&image);
    }
    // Under load the kernel may refuse some, whose writers then go through the page cache.
    const std::vector<PageImage*> refused = writer.value()->Finish();
    left.insert(left.end(), refused.begin(), refused.end());
    CHECK(left.size() < made.images.size() / 2);
    for (const PageImage* image : left) {
      CHECK(!image->around_cache);
      CHECK_EQ(::pwrite(file.get(), image->bytes, kPageBytes, off_t(image->run.offset_bytes())),
               ssize_t(kPageBytes));
    }
    CheckFile(path, round);
    return writer.value()->peak();
  };
  Thread("short", [&] {
    PinToOneProcessor();
    CHECK(peak(8, Holes::kRefuse) > kDirectWritesShort);
    AnsweringThread answering;
    answering.Answered(NowNs() + kLongNs);
    CHECK_EQ(peak(9, Holes::kRefuse), 1u);
    CHECK_EQ(peak(7, Holes::kAllocate), kDirectWritesShort);
    // The second writer stands aside meanwhile; the first one does all.
    auto store = OpenStore(path);
    Images made(10);
    CheckWritten(*store, made);
    CHECK(store->direct_pages() > kPages / kStep / 2);
  }).Join();
  CheckFile(path, 10);
}

}  // namespace farpage::test
