#include "stores/spill_tier.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>

#include "base/page.h"

namespace farpage {
namespace {

// Works on `bytes` from `at` on until all is done; short transfers go on where they stopped.
template <typename Call>
Status Transfer(uint64_t bytes, off_t at, const char* what, Call call) {
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t moved = call(done, at + static_cast<off_t>(done));
    if (moved < 0) {
      if (errno == EINTR) continue;
      return SystemError(what);
    }
    if (moved == 0) return Error{Code::kIo, 0, what};
    done += static_cast<uint64_t>(moved);
  }
  return {};
}

// Whether direct reads and writes of single pages work here; some file systems open a file so and
// then refuse, others want larger blocks.
bool TakesDirect(int fd) {
  void* page = nullptr;
  if (::posix_memalign(&page, kPageBytes, kPageBytes) != 0) return false;
  std::fill_n(static_cast<std::byte*>(page), kPageBytes, std::byte{0});
  const auto bytes = static_cast<ssize_t>(kPageBytes);
  const bool works = ::pwrite(fd, page, kPageBytes, 0) == bytes &&
                     ::pread(fd, page, kPageBytes, 0) == bytes;
  std::free(page);
  return works;
}

// A file without a name, around the page cache where the file system can.
Result<Fd> OpenUnnamed(const std::string& directory) {
  constexpr int kFlags = O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL;
  Fd fd(::open(directory.c_str(), kFlags | O_DIRECT, 0600));
  if (!fd.valid() || !TakesDirect(fd.get())) fd = Fd(::open(directory.c_str(), kFlags, 0600));
  if (fd.valid()) return fd;
  if (errno == EOPNOTSUPP || errno == EISDIR) {
    return Error{Code::kUnsupported, errno, "this file system has no unnamed files"};
  }
  return SystemError("open O_TMPFILE");
}

}  // namespace

bool SpillTier::CanOpen(const std::string& directory) {
  return Fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600)).valid();
}

Result<std::unique_ptr<SpillTier>> SpillTier::Later(const std::string& directory,
                                                    uint64_t capacity_bytes) {
  const uint64_t slots = capacity_bytes >> kPageShift;
  if (slots == 0 || slots >> kTierSlotBits != 0) {
    return Error{Code::kArgument, 0, "a spill tier of no page, or of too many"};
  }
  return std::unique_ptr<SpillTier>(new SpillTier(directory, slots));
}

Result<std::unique_ptr<SpillTier>> SpillTier::Open(const std::string& directory,
                                                   uint64_t capacity_bytes) {
  auto tier = Later(directory, capacity_bytes);
  if (!tier.ok()) return tier;
  if (Status opened = tier.value()->Prepare(); !opened.ok()) return opened.error();
  return tier;
}

Status SpillTier::Prepare() {
  if (file() >= 0) return {};
  const std::lock_guard<std::mutex> lock(mutex_);
  if (fd_.valid()) return {};
  auto opened = OpenUnnamed(directory_);
  if (!opened.ok()) return opened.error();
  fd_ = std::move(opened).value();
  file_.store(fd_.get(), std::memory_order_release);
  return {};
}

SpillTier::SpillTier(std::string directory, uint64_t slots)
    : directory_(std::move(directory)), slots_(slots), taken_(slots) {}

uint64_t SpillTier::capacity_bytes() const { return slots_ << kPageShift; }

uint64_t SpillTier::used_bytes() const { return pages() << kPageShift; }

uint64_t SpillTier::Take(uint64_t want, TierSlot* first) {
  std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t count = taken_.Take(want, first);
  if (count == 0) return 0;
  most_ = std::max(most_, taken_.used());
  const uint64_t last = (*first + count - 1) / kSlotGroup;
  if (last >= written_.size()) written_.resize(last + 1);
  for (uint64_t group = *first / kSlotGroup; group <= last; group++) written_[group] = true;
  return count;
}

void SpillTier::Release(TierSlot first, uint64_t count) {
  std::lock_guard<std::mutex> lock(mutex_);
  taken_.Release(first, count);
  const uint64_t step = std::max(most_ / kSpillGivenPart, kSlotGroup);
  if (taken_.used() == 0 || most_ - taken_.used() >= step) GiveBack();
}

// A failure costs room and no more.
void SpillTier::GiveBack() {
  most_ = taken_.used();
  if (most_ == 0) {
    written_.clear();
    [[maybe_unused]] const int cut = ::ftruncate(fd_.get(), 0);
    return;
  }
  const uint64_t groups = written_.size();
  for (uint64_t first = taken_.reach() / kSlotGroup; first < groups; first++) {
    uint64_t end = first;
    for (; end < groups && written_[end] && taken_.IsFree(end); end++) written_[end] = false;
    if (end == first) continue;
    const uint64_t group_bytes = kSlotGroup << kPageShift;
    (void)::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(first * group_bytes),
                      static_cast<off_t>((end - first) * group_bytes));
    first = end;
  }
}

Status SpillTier::WriteRun(std::span<const TierPage> pages) {
  std::array<iovec, kSpillBatchPages> parts;
  const auto at = static_cast<off_t>(pages[0].slot << kPageShift);
  return Transfer(pages.size() << kPageShift, at, "pwritev spill",
                  [&](uint64_t done, off_t offset) {
                    int count = 0;
                    uint64_t skip = done;
                    for (const TierPage& page : pages) {
                      const uint64_t here = std::min(skip, kPageBytes);
                      skip -= here;
                      if (here == kPageBytes) continue;
                      parts[static_cast<size_t>(count++)] = {
                          const_cast<std::byte*>(page.bytes) + here, kPageBytes - here};
                    }
                    return ::pwritev(file(), parts.data(), count, offset);
                  });
}

void SpillTier::Put(std::span<TierPage> pages) {
  if (const Status ready = Prepare(); !ready.ok()) {
    for (TierPage& page : pages) page.outcome = ready;
    return;
  }
  while (!pages.empty()) {
    TierSlot first = 0;
    const uint64_t count = Take(std::min(pages.size(), kSpillBatchPages), &first);
    if (count == 0) {
      for (TierPage& page : pages) {
        page.outcome = Error{Code::kNoSpace, 0, "the spill tier is full"};
      }
      return;
    }
    const auto run = pages.first(count);
    for (uint64_t n = 0; n < count; n++) run[n].slot = first + n;
    const Status written = WriteRun(run);
    for (TierPage& page : run) page.outcome = written;
    if (written.ok()) {
      pages_.fetch_add(count, std::memory_order_relaxed);
    } else {
      Release(first, count);
    }
    pages = pages.subspan(count);
  }
}

Status SpillTier::Get(TierSlot slot, std::byte* into) {
  return Transfer(kPageBytes, static_cast<off_t>(slot << kPageShift), "pread spill",
                  [&](uint64_t done, off_t offset) {
                    return ::pread(file(), into + done, kPageBytes - done, offset);
                  });
}

void SpillTier::Free(TierSlot slot) {
  pages_.fetch_sub(1, std::memory_order_relaxed);
  Release(slot, 1);
}

}  // namespace farpage
