#include "pager/image_pool.h"

#include <sys/mman.h>

namespace farpage {

Status ImagePool::Open() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (memory_.valid()) return {};
  auto memory = Mapping::Anonymous(kImagePoolPages * kPageBytes);
  if (!memory.ok()) return memory.error();
  memory_ = std::move(memory).value();
  for (uint32_t slot = kImagePoolPages; slot > 0; slot--) free_.push_back(slot - 1);
  return {};
}

bool ImagePool::Take(uint32_t member, PageIndex page, uint32_t* slot) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.empty()) {
    if (urgent_.size() < kUrgentPagesMax) urgent_.push_back({member, page, 0, 0});
    return false;
  }
  *slot = free_.back();
  free_.pop_back();
  in_hand_++;
  return true;
}

void ImagePool::Put(const Image& image) {
  const std::lock_guard<std::mutex> lock(mutex_);
  images_.push_back(image);
  if (--in_hand_ == 0) done_.notify_all();
}

void ImagePool::Return(uint32_t slot) {
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(slot);
  if (--in_hand_ == 0) done_.notify_all();
}

void ImagePool::Drain(std::vector<Image>* images, std::vector<Image>* urgent) {
  const std::lock_guard<std::mutex> lock(mutex_);
  images->swap(images_);
  urgent->swap(urgent_);
  // Those that are handed over are in the hands of the sync until it returns them.
  in_hand_ += static_cast<uint32_t>(images->size());
}

void ImagePool::AwaitWriters() {
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return in_hand_ == 0; });
}

void ImagePool::Release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ::madvise(memory_.data(), memory_.size(), MADV_DONTNEED);
}

}  // namespace farpage
