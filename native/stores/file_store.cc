#include "stores/file_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "memory/region_copy.h"
#include "os/page_cache.h"
#include "os/short_cores.h"
#include "os/thread.h"
#include "os/work_in_pieces.h"

namespace farpage {
namespace {

// Writers of one batch: the second one pays while the first splits folios or copies pages, more
// do not.
constexpr size_t kWriteThreads = 2;
// Buffered writes after which the device is started on them. Measured on ext4 with 1 % and 10 %
// scattered pages of 1 and 4 GiB: 0.8 (hot, large folios) to 1.0 (cold) of fdatasync alone.
constexpr size_t kImagesPerKick = 64;
// Fewer images than this are not worth starting threads for.
constexpr size_t kParallelImagesMin = 64;
// Images that a writer takes at once.
constexpr size_t kShareImages = kImagesPerKick;
// How long the second writer stands aside before it looks again.
constexpr std::chrono::milliseconds kAside{5};
// How often a locked range is asked for.
constexpr long kLockNapNs = 2'000'000;

// Images that writers divide among themselves, each taking the next ones when it has done its own.
class Shares {
 public:
  explicit Shares(std::span<PageImage* const> images) : images_(images) {}

  // The next images for one writer; none when all are taken. `helps`: not while cores are short.
  std::span<PageImage* const> Take(bool helps) {
    if (helps) StandAside();
    const size_t first = next_.fetch_add(kShareImages, std::memory_order_relaxed);
    if (first >= images_.size()) return {};
    const size_t count = std::min(kShareImages, images_.size() - first);
    if (first + count == images_.size()) {
      const std::lock_guard<std::mutex> lock(mutex_);  // or who is about to wait would not hear it
      taken_.notify_all();
    }
    return images_.subspan(first, count);
  }

 private:
  [[nodiscard]] bool AllTaken() const {
    return next_.load(std::memory_order_relaxed) >= images_.size();
  }
  // While cores are short and there is something to help with: who has taken the last images waits
  // for the one that stands here.
  void StandAside() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!AllTaken() && CoresAreShort()) {
      taken_.wait_for(lock, kAside, [this] { return AllTaken(); });
    }
  }

  std::span<PageImage* const> images_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable taken_;
};

// `work` takes its images out of the shares until there are none, here and on helping threads.
template <typename Work>
void Divide(std::span<PageImage* const> images, Work work) {
  Shares shares(images);
  std::vector<Thread> helpers;
  while (images.size() >= kParallelImagesMin && helpers.size() + 1 < kWriteThreads) {
    helpers.emplace_back("write", [&] { work([&shares] { return shares.Take(true); }); });
  }
  work([&shares] { return shares.Take(false); });
  for (Thread& helper : helpers) helper.Join();
}

Status TryLock(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(offset_bytes);
  lock.l_len = static_cast<off_t>(length_bytes);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) {
    return Error{Code::kFileLocked, errno, "fcntl F_OFD_SETLK"};
  }
  if (errno == EINVAL || errno == ENOLCK || errno == EOPNOTSUPP) return {};  // no locks here
  return SystemError("fcntl F_OFD_SETLK");
}

// A process that was killed holds its locks for as long as the device works on what it had begun.
Status LockRange(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
  const uint64_t give_up_ns = NowNs() + kLockWaitNs;
  for (;;) {
    Status locked = TryLock(fd, offset_bytes, length_bytes);
    if (locked.error().code != Code::kFileLocked || NowNs() > give_up_ns) return locked;
    const timespec nap{0, kLockNapNs};
    ::nanosleep(&nap, nullptr);
  }
}

bool SameFile(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

Error Deleted() { return {Code::kFileChanged, 0, "the file was deleted"}; }

}  // namespace

Result<std::unique_ptr<FileStore>> FileStore::Open(const Options& options) {
  // O_NONBLOCK: opening a FIFO must not wait for its other end; it has no effect on files.
  const int flags = (options.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
  Fd fd(::open(options.path.c_str(), flags));
  if (!fd.valid()) {
    if (errno == EISDIR || errno == ENXIO) return Error{Code::kFileKind, errno, "open"};
    return SystemError("open");
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return SystemError("fstat");
  if (!S_ISREG(status.st_mode)) return Error{Code::kFileKind, 0, "not a regular file"};
  struct stat there{};
  const bool named = status.st_nlink != 0 && ::stat(options.path.c_str(), &there) == 0 &&
                     SameFile(status, there);
  const auto size = static_cast<uint64_t>(status.st_size);
  const auto unlike = [&](Code code, const char* what) {
    return options.known ? Error{Code::kFileChanged, 0, "the file has another size now"}
                         : Error{code, 0, what};
  };
  if (size == 0) return unlike(Code::kFileEmpty, "the file has no bytes");
  if (options.offset_bytes % kPageBytes != 0) {
    return Error{Code::kAlignment, 0, "the offset is not a multiple of the page size"};
  }
  if (options.offset_bytes >= size || options.length_bytes > size - options.offset_bytes) {
    return unlike(Code::kRange, "the range ends beyond the file");
  }
  const uint64_t length =
      options.length_bytes != 0 ? options.length_bytes : size - options.offset_bytes;
  // A part that stops inside a page would share that page with somebody else's bytes.
  if (length % kPageBytes != 0 && options.offset_bytes + length != size) {
    return unlike(Code::kAlignment, "the length is not a multiple of the page size");
  }
  std::unique_ptr<DirectFile> direct;
  if (options.writable) {
    direct = std::make_unique<DirectFile>(fd.get(), options.offset_bytes);
    if (!direct->valid()) direct.reset();
    // On the open file that requests may be under way for when this process ends: they are over
    // before somebody else has the lock.
    const int locking = direct == nullptr ? fd.get() : direct->fd();
    if (Status locked = LockRange(locking, options.offset_bytes, length); !locked.ok()) {
      return locked.error();
    }
  }
  // The pager does its own read-ahead; the kernel's would initialise what nobody asked for.
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM);
  return std::unique_ptr<FileStore>(
      new FileStore(std::move(fd), std::move(direct), options, length, named));
}

Status FileStore::StillNamed() const {
  struct stat mine{};
  if (!named_ || ::fstat(fd_.get(), &mine) != 0) return {};
  if (mine.st_nlink == 0) return Deleted();
  struct stat there{};
  // Moved, or out of sight now: it has a name all the same.
  if (::stat(path_.c_str(), &there) != 0 || SameFile(mine, there)) return {};
  return Error{Code::kFileChanged, 0, "another file has its name now"};
}

Result<uint64_t> FileStore::WritableBytes() const {
  struct stat status{};
  if (::fstat(fd_.get(), &status) != 0) return SystemError("fstat");
  if (named_ && status.st_nlink == 0) return Deleted();
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size <= offset_bytes_) return uint64_t{0};
  return std::min(size - offset_bytes_, length_bytes_);
}

StoreIdentity FileStore::Identity() const {
  struct stat status{};
  if (::fstat(fd_.get(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
          static_cast<uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000u +
              static_cast<uint64_t>(status.st_mtim.tv_nsec)};
}

uint64_t FileStore::CachedPages(PageRun run) const {
  return CachedBytes(fd_.get(), offset_bytes_ + run.offset_bytes(), run.length_bytes(), nullptr) >>
         kPageShift;
}

void FileStore::WillRead(PageRun run) {
  ::posix_fadvise(fd_.get(), static_cast<off_t>(offset_bytes_ + run.offset_bytes()),
                  static_cast<off_t>(run.length_bytes()), POSIX_FADV_WILLNEED);
}

bool FileStore::IsRead(PageRun run) const {
  // EAGAIN while the page is locked for its read; anything else is for Read to find out.
  std::byte byte;
  iovec into{&byte, 1};
  const uint64_t last = offset_bytes_ + ((run.end() - 1) << kPageShift);
  return ::preadv2(fd_.get(), &into, 1, static_cast<off_t>(last), RWF_NOWAIT) >= 0 ||
         errno != EAGAIN;
}

Status FileStore::Read(PageRun run, std::byte* into) {
  uint64_t done = 0;
  const uint64_t want = std::min(run.length_bytes(), length_bytes_ - run.offset_bytes());
  while (done < want) {
    const ssize_t got = ::pread(fd_.get(), into + done, want - done,
                                static_cast<off_t>(offset_bytes_ + run.offset_bytes() + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return SystemError("pread");
    }
    if (got == 0) return Error{Code::kFileChanged, 0, "the file has become shorter"};
    done += static_cast<uint64_t>(got);
  }
  std::memset(into + done, 0, run.length_bytes() - done);
  CountRead(run);
  return {};
}

Status FileStore::WriteImage(const PageImage& image) const {
  uint64_t done = 0;
  while (done < image.length_bytes) {
    // Asked as late as can be: a pwrite behind the end would make the file longer again.
    auto available = WritableBytes();
    if (!available.ok()) return available.error();
    if (image.run.offset_bytes() + image.length_bytes > available.value()) {
      return Error{Code::kFileChanged, 0, "the file has become shorter than the page to write"};
    }
    const ssize_t put =
        WriteRegionBytes(fd_.get(), image.bytes + done, image.length_bytes - done,
                         static_cast<off_t>(offset_bytes_ + image.run.offset_bytes() + done));
    if (put < 0) {
      if (errno == EINTR) continue;
      if (errno == EFAULT) return Error{Code::kPageLost, errno, "pwrite"};
      return SystemError("pwrite");
    }
    done += static_cast<uint64_t>(put);
  }
  return {};
}

void FileStore::WillWrite(PageRun run) {
  if (direct_ == nullptr || writes_under_way_.load(std::memory_order_relaxed) != 0) return;
  (void)direct_->Uncache(run);
}

bool FileStore::BeginAroundCache(DirectWriter& writer, PageImage* image) const {
  // A file cut meanwhile must not grow again; WriteImage says so.
  auto available = WritableBytes();
  return available.ok() &&
         image->run.offset_bytes() + image->length_bytes <= available.value() &&
         writer.Begin(image);
}

std::vector<PageImage*> FileStore::WriteAroundCache(const NextImages& next) {
  std::vector<PageImage*> left;
  uint64_t pages = 0;
  auto writer = DirectWriter::Create(*direct_);
  for (auto images = next(); !images.empty(); images = next()) {
    for (PageImage* image : images) {
      pages += image->run.count;
      if (!writer.ok() || !BeginAroundCache(*writer.value(), image)) left.push_back(image);
    }
  }
  if (writer.ok()) {
    const std::vector<PageImage*> refused = writer.value()->Finish();
    left.insert(left.end(), refused.begin(), refused.end());
  }
  for (const PageImage* image : left) pages -= image->run.count;
  direct_pages_.fetch_add(pages, std::memory_order_relaxed);
  return left;
}

void FileStore::WriteThroughCache(std::span<PageImage* const> images) const {
  size_t kicked = 0;
  for (size_t n = 0; n < images.size(); n++) {
    images[n]->outcome = WriteImage(*images[n]);
    if (n + 1 - kicked < kImagesPerKick && n + 1 != images.size()) continue;
    // Starts the device on what was written, while the next images are copied: a hint, whose
    // errors fdatasync reports.
    const uint64_t first = images[kicked]->run.offset_bytes();
    const uint64_t end = images[n]->run.offset_bytes() + images[n]->length_bytes;
    ::sync_file_range(fd_.get(), static_cast<off64_t>(offset_bytes_ + first),
                      static_cast<off64_t>(end - first), SYNC_FILE_RANGE_WRITE);
    kicked = n + 1;
  }
}

Status FileStore::Write(std::span<PageImage> images) {
  if (const Status named = StillNamed(); !named.ok()) {
    // Of each page: what a cut has taken as well is to be found out now, as after other failures.
    for (PageImage& image : images) image.outcome = named;
    return images.empty() ? named : Status{};
  }
  const WorkInPieces work;
  std::vector<PageImage*> left;
  left.reserve(images.size());
  for (PageImage& image : images) left.push_back(&image);
  if (direct_ != nullptr && left.size() >= kParallelImagesMin) {
    direct_->Hope();
    writes_under_way_.fetch_add(1, std::memory_order_relaxed);
    std::mutex mutex;
    std::vector<PageImage*> refused;
    Divide(left, [&](const NextImages& next) {
      const std::vector<PageImage*> own = WriteAroundCache(next);
      std::lock_guard<std::mutex> lock(mutex);
      refused.insert(refused.end(), own.begin(), own.end());
    });
    writes_under_way_.fetch_sub(1, std::memory_order_relaxed);
    std::sort(refused.begin(), refused.end(), [](const PageImage* a, const PageImage* b) {
      return a->run.first < b->run.first;
    });
    left = std::move(refused);
  }
  // Only now, when nothing is under way around the page cache: a neighbour made dirty in a folio
  // that somebody has read meanwhile would keep the kernel from dropping it (EIO at fdatasync).
  Divide(left, [this](const NextImages& next) {
    for (auto share = next(); !share.empty(); share = next()) WriteThroughCache(share);
  });
  return {};
}

// What does not go around the page cache goes through it at the end, when nothing is under way.
class FileStore::Writes final : public PageWrites {
 public:
  explicit Writes(FileStore& store) : store_(store) {
    if (store.direct_ == nullptr) return;
    auto writer = DirectWriter::Create(*store.direct_, Holes::kAllocate);
    if (writer.ok()) direct_ = std::move(writer).value();
  }
  void Begin(PageImage* image) override {
    const bool around = direct_ != nullptr && image->run.count >= kDirectRunPagesMin &&
                        store_.BeginAroundCache(*direct_, image);
    if (!around) {
      through_.push_back(image);
      return;
    }
    begun_pages_ += image->run.count;
  }
  void End() override {
    if (begun_pages_ != 0) {
      for (PageImage* refused : direct_->Finish()) {
        begun_pages_ -= refused->run.count;
        through_.push_back(refused);
      }
      store_.direct_pages_.fetch_add(std::exchange(begun_pages_, 0), std::memory_order_relaxed);
    }
    store_.WriteThroughCache(through_);
    through_.clear();
  }

 private:
  FileStore& store_;
  std::unique_ptr<DirectWriter> direct_;  // null: the system offers no such thing
  std::vector<PageImage*> through_;
  uint64_t begun_pages_ = 0;
};

std::unique_ptr<PageWrites> FileStore::StartWrites() { return std::make_unique<Writes>(*this); }

Status FileStore::MakeDurable() {
  if (::fdatasync(fd_.get()) != 0) return SystemError("fdatasync");
  return StillNamed();
}

}  // namespace farpage
