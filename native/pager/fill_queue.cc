#include "pager/fill_queue.h"

namespace farpage {

std::unique_ptr<RingFillQueue> RingFillQueue::Open(Filler& filler, FrameBudget& budget) {
  auto ring = IoRing::Create(kRingReadsMax);
  if (!ring.ok()) return nullptr;
  return std::unique_ptr<RingFillQueue>(
      new RingFillQueue(std::move(ring).value(), filler, budget));
}

RingFillQueue::RingFillQueue(std::unique_ptr<IoRing> ring, Filler& filler, FrameBudget& budget)
    : ring_(std::move(ring)),
      filler_(filler),
      budget_(budget),
      discard_(new std::byte[kRingRunPagesMax << kPageShift]) {
  for (uint32_t slot = 0; slot < kRingReadsMax; slot++) free_.push_back(slot);
}

RingFillQueue::~RingFillQueue() {
  while (outstanding() != 0) {
    ring_->Submit(1);
    Reap();
  }
}

bool RingFillQueue::Submit(const std::shared_ptr<Region>& region, PageRun run) {
  const RegionMemory::Backing backing = region->memory->backing();
  if (backing.fd < 0 || free_.empty()) return false;
  const uint32_t slot = free_.back();
  // One byte brings a page in; a run is asked for as a whole, so that it is one request.
  const auto bytes = static_cast<uint32_t>(run.count == 1 ? 1 : run.length_bytes());
  if (!ring_->QueueRead(backing.fd, discard_.get(), bytes,
                        backing.offset_bytes + run.offset_bytes(), slot)) {
    return false;
  }
  free_.pop_back();
  region->jobs.fetch_add(1, std::memory_order_acq_rel);
  reads_[slot] = {region, run};
  return true;
}

size_t RingFillQueue::Reap() {
  size_t count = 0;
  IoRing::Completion completion;
  while (ring_->Reap(&completion)) {
    Finish(completion);
    count++;
  }
  return count;
}

void RingFillQueue::Finish(const IoRing::Completion& completion) {
  const auto slot = static_cast<uint32_t>(completion.user_data);
  Read read = std::move(reads_[slot]);
  reads_[slot] = {};
  free_.push_back(slot);
  const uint64_t wanted = read.run.count == 1 ? 1 : read.region->BytesIn(read.run);
  if (completion.result >= 0 && static_cast<uint64_t>(completion.result) >= wanted) {
    (void)filler_.FillNow(read.region, read.run);
  } else {
    // Short or failed: a pager thread finds out which page it was, and why.
    Filler::ReturnFrames(*read.region, budget_, read.run.count);
    if (!filler_.Submit(read.region, read.run)) {
      filler_.GiveUp(read.region, read.run, Code::kIo);
    }
  }
  read.region->jobs.fetch_sub(1, std::memory_order_acq_rel);
}

}  // namespace farpage
