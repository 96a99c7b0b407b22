#include "stores/direct_writer.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <string>
#include <utility>

#include "os/page_cache.h"
#include "os/short_cores.h"

namespace farpage {
namespace {

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

// Begun writes that are handed to the kernel by one call.
constexpr uint32_t kWritesPerEnter = 8;

}  // namespace

DirectFile::DirectFile(int cached_fd, uint64_t offset_bytes)
    : cached_fd_(cached_fd), offset_bytes_(offset_bytes) {
  const std::string path = "/proc/self/fd/" + std::to_string(cached_fd);
  direct_fd_ = Fd(::open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK));
}

bool DirectFile::Uncache(PageRun run) {
  const uint64_t first = OffsetOf(run);
  if (farpage::Uncache(cached_fd_, first, run.length_bytes())) return true;
  if (hopeless_splits_.load(std::memory_order_relaxed) >= kHopelessSplitsMax) return false;
  SplitFolio(cached_fd_, first);
  if (run.count > 1) SplitFolio(cached_fd_, first + run.length_bytes() - kPageBytes);
  const bool uncached = farpage::Uncache(cached_fd_, first, run.length_bytes());
  if (uncached) {
    Hope();
  } else {
    hopeless_splits_.fetch_add(1, std::memory_order_relaxed);
  }
  return uncached;
}

Result<std::unique_ptr<DirectWriter>> DirectWriter::Create(DirectFile& file, Holes holes) {
  auto ring = IoRing::Create(kDirectWritesMax);
  if (!ring.ok()) return ring.error();
  return std::unique_ptr<DirectWriter>(new DirectWriter(file, holes, std::move(ring).value()));
}

DirectWriter::~DirectWriter() { WaitForAll(); }

bool DirectWriter::Begin(PageImage* image) {
  // O_DIRECT takes whole pages.
  if (image->length_bytes != image->run.length_bytes() || !file_.Uncache(image->run)) return false;
  if (singly_) singly_ = holes_ == Holes::kRefuse && CoresAreShort();
  if (singly_) return WriteNow(image);
  if (!MakeRoom()) return false;
  if (!ring_->QueueWrite(file_.fd(), image->bytes, static_cast<uint32_t>(image->length_bytes),
                         file_.OffsetOf(image->run),
                         holes_ == Holes::kRefuse ? RWF_NOWAIT : 0, begun_.size())) {
    return false;
  }
  begun_.push_back(image);
  if (holes_ == Holes::kAllocate || ring_->queued() == kWritesPerEnter) (void)Enter(0);
  return true;
}

// Writes an image and waits for that; false when the kernel refuses.
bool DirectWriter::WriteNow(PageImage* image) {
  const iovec from{const_cast<std::byte*>(image->bytes), image->length_bytes};
  const auto offset = static_cast<off_t>(file_.OffsetOf(image->run));
  const ssize_t put = ::pwritev2(file_.fd(), &from, 1, offset, RWF_NOWAIT);
  if (put < 0 || static_cast<uint64_t>(put) != image->length_bytes) return false;
  peak_ = std::max(peak_, 1u);
  image->outcome = {};
  image->around_cache = true;
  return true;
}

// Room for one write more; false when the kernel refuses.
bool DirectWriter::MakeRoom() {
  while (under_way_ + ring_->queued() >= most_) {
    const bool are_short = CoresAreShort();
    most_ = are_short ? kDirectWritesShort : kDirectWritesMax;
    singly_ = are_short && holes_ == Holes::kRefuse;
    const uint32_t begun = under_way_ + ring_->queued();
    if (begun < most_) break;
    // One completion makes room for one write, and each would wake this thread.
    if (!Enter(most_ == kDirectWritesShort ? begun : 1)) return false;
  }
  return true;
}

bool DirectWriter::Enter(uint32_t wait_for) {
  const uint32_t queued = ring_->queued();
  const bool entered = ring_->Enter(wait_for);
  under_way_ += queued - ring_->queued();
  peak_ = std::max(peak_, under_way_);
  for (IoRing::Completion done; ring_->Reap(&done);) {
    under_way_--;
    PageImage*& image = begun_[done.user_data];
    if (done.result < 0 || static_cast<uint64_t>(done.result) != image->length_bytes) continue;
    image->outcome = {};
    image->around_cache = true;
    image = nullptr;
  }
  return entered;
}

void DirectWriter::WaitForAll() {
  while (under_way_ + ring_->queued() != 0) {
    if (Enter(1)) continue;
    if (under_way_ == 0) return;  // the rest was never handed over
    const timespec nap{0, 100'000};
    ::nanosleep(&nap, nullptr);
  }
}

std::vector<PageImage*> DirectWriter::Finish() {
  WaitForAll();
  std::erase(begun_, nullptr);
  return std::exchange(begun_, {});
}

}  // namespace farpage
