// Compressed memory as a tier.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "os/mapping.h"
#include "memory/tier.h"

namespace farpage {

// Sizes that a compressed page takes: multiples of a sixteenth of a page.
inline constexpr uint32_t kSizeClasses = 16;
// Slots of one chunk at most: chunks are sixteen pages of slots of one size.
inline constexpr uint32_t kChunkSlotsMax = 256;

// Pages of one value cost nothing, incompressible ones are kept raw. Memory is committed and given
// back chunk by chunk. A lock is right here: all of it happens off the path of present pages, and
// pages are compressed outside of it. Thread: any.
class CompressedTier final : public Tier {
 public:
  // Address space for `capacity_bytes`, committed as it fills. Fails: kMemoryFull, kArgument (less
  // than a chunk).
  static Result<std::unique_ptr<CompressedTier>> Create(uint64_t capacity_bytes);

  void Put(std::span<TierPage> pages) override;
  Status Get(TierSlot slot, std::byte* into) override;
  void Free(TierSlot slot) override;
  [[nodiscard]] bool gets_in_place() const override { return true; }
  [[nodiscard]] const char* kind() const override { return "compressed"; }
  [[nodiscard]] uint64_t capacity_bytes() const override;
  // Of whole chunks, as the system counts them.
  [[nodiscard]] uint64_t used_bytes() const override {
    return used_.load(std::memory_order_relaxed);
  }

 private:
  struct Chunk {
    uint32_t size_class = 0;  // 0: free; slots are as many sixteenths of a page
    uint32_t used = 0;
    uint32_t position = 0;    // in the list of its class while it has room
    std::array<uint64_t, kChunkSlotsMax / 64> taken{};
    std::array<uint16_t, kChunkSlotsMax> lengths{};  // of compressed bytes; 0: a raw page
  };
  explicit CompressedTier(Mapping memory) : memory_(std::move(memory)) {}
  // All require the lock. A free slot of a class, or false. Requires the lock.
  bool Take(uint32_t size_class, uint32_t length, TierSlot* slot);
  bool OpenChunk(uint32_t size_class);
  void List(uint32_t number);
  void Unlist(uint32_t number);
  [[nodiscard]] std::byte* AddressOf(TierSlot slot) const;

  Mapping memory_;
  std::mutex mutex_;  // guards the rest
  std::vector<Chunk> chunks_;
  std::vector<uint32_t> free_;  // chunks of no class
  std::array<std::vector<uint32_t>, kSizeClasses + 1> open_;  // chunks that have room
  std::atomic<uint64_t> used_{0};
};

}  // namespace farpage
