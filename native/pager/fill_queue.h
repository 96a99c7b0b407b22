// Cold fills by io_uring, on the thread that met the fault.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "memory/fault_handler.h"
#include "os/io_ring.h"
#include "pager/filler.h"

namespace farpage {

// Reads under way on one queue, at most; further fills go to the pager's threads.
inline constexpr uint32_t kRingReadsMax = 256;
// Pages of one such read, at most.
inline constexpr uint64_t kRingRunPagesMax = 64;

// The kernel reads the pages of a mapped file into the page cache, asynchronously; the bytes that
// the read itself delivers are thrown away. Populate then finds them and does not wait. Waking a
// fill thread and being woken by it cost more than all of this. Owner: one front-door thread.
class RingFillQueue final : public FillQueue {
 public:
  // Null where io_uring is not to be had.
  static std::unique_ptr<RingFillQueue> Open(Filler& filler, FrameBudget& budget);
  // Waits for the reads under way and installs their pages.
  ~RingFillQueue() override;

  // Queues the read of a claimed run whose frames are taken. False: the queue is full, or the
  // region's memory cannot be read this way.
  bool Submit(const std::shared_ptr<Region>& region, PageRun run);

  void Kick() override {
    if (ring_->queued() != 0) ring_->Submit();
  }
  size_t Reap() override;
  [[nodiscard]] size_t outstanding() const override { return kRingReadsMax - free_.size(); }
  [[nodiscard]] int descriptor() const override { return ring_->descriptor(); }

 private:
  struct Read {
    std::shared_ptr<Region> region;
    PageRun run;
  };
  RingFillQueue(std::unique_ptr<IoRing> ring, Filler& filler, FrameBudget& budget);
  void Finish(const IoRing::Completion& completion);

  std::unique_ptr<IoRing> ring_;
  Filler& filler_;
  FrameBudget& budget_;
  std::array<Read, kRingReadsMax> reads_;
  std::vector<uint32_t> free_;
  // Where all reads deliver their bytes, one over the other.
  std::unique_ptr<std::byte[]> discard_;
};

}  // namespace farpage
