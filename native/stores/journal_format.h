// The bytes of a journal. It stays on the machine that wrote it: numbers are in host order.
//
//   page 0, page 1     heads, written in turn: the newest valid one says what stands in the stream
//   from page 2 on     one stream: its stores, then chunks of pages, then its end
//
// Everything starts at a multiple of the page size and carries the sequence number of its sync, so
// that what an older one has left behind is never taken for a part of this one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/crc32c.h"
#include "base/page.h"

namespace farpage::journal_format {

inline constexpr std::array<char, 8> kMagic = {'F', 'A', 'R', 'P', 'A', 'G', 'E', 'J'};
// The first format is the same, of a journal that has one file: who knows of no other refuses this.
inline constexpr uint32_t kFormat = 2;
inline constexpr uint32_t kFormatOldest = 1;
inline constexpr uint64_t kStoresMark = 0x31534552'4f545346u;
inline constexpr uint64_t kChunkMark = 0x314b4e55'48435046u;
inline constexpr uint64_t kEndMark = 0x31444e45'4d525546u;

struct Head {
  std::array<char, 8> magic;
  uint32_t format;
  uint32_t page_bytes;
  uint64_t serial;        // grows by one with each head that is written
  uint64_t sequence;      // of the newest sync that was committed, or given up
  uint64_t stream_bytes;  // of a committed one
  uint32_t committed;     // 1: its stream is durable, and its stores may have some of it
  uint32_t checksum;
};
static_assert(sizeof(Head) == 48);

// In front of the stores, each a StoreEntry and its path.
struct StoresHead {
  uint64_t mark;
  uint64_t sequence;
  uint32_t stores;
  uint32_t bytes;     // of what follows this head
  uint32_t checksum;  // of this, taken as 0, and of what follows
  uint32_t unused;
};
static_assert(sizeof(StoresHead) == 32);

struct StoreEntry {
  uint64_t device;
  uint64_t inode;
  uint64_t offset_bytes;  // of the region's first byte in the file
  uint64_t size_bytes;    // of the region
  uint32_t path_bytes;
  uint32_t unused;
};
static_assert(sizeof(StoreEntry) == 40);

// A page that describes the pages behind it.
struct ChunkHead {
  uint64_t mark;
  uint64_t sequence;
  uint32_t index;
  uint32_t pages;
  uint32_t checksum;  // of this, taken as 0, and of the entries
  uint32_t unused;
};
static_assert(sizeof(ChunkHead) == 32);

struct PageEntry {
  uint64_t page;      // of the region
  uint32_t store;     // position in the list of stores
  uint32_t checksum;  // of all bytes of the page
};
static_assert(sizeof(PageEntry) == 16);

struct StreamEnd {
  uint64_t mark;
  uint64_t sequence;
  uint64_t pages;
  uint32_t chunks;
  uint32_t chain;     // of the checksums of stores and chunks, in order
  uint32_t checksum;
  uint32_t unused;
};
static_assert(sizeof(StreamEnd) == 40);

// Pages that one chunk holds: 1 MiB of them with their description.
inline constexpr uint32_t kChunkPagesMax = 254;
static_assert(sizeof(ChunkHead) + kChunkPagesMax * sizeof(PageEntry) <= 4096);

inline uint64_t StreamStart() { return 2 * kPageBytes; }

// The checksum of a block that holds its own.
template <typename Block>
uint32_t Sum(const Block& block, std::span<const std::byte> rest = {}) {
  Block bare = block;
  bare.checksum = 0;
  const auto* bytes = reinterpret_cast<const std::byte*>(&bare);
  return Crc32c(Crc32c(0, {bytes, sizeof(Block)}), rest);
}

// True: its checksum fits, if need be with one bit of it flipped back.
inline bool Mend(Head* head) {
  if (head->checksum == Sum(*head)) return true;
  for (size_t bit = 0; bit < sizeof(Head) * 8; bit++) {
    Head other = *head;
    reinterpret_cast<std::byte*>(&other)[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    if (other.checksum != Sum(other)) continue;
    *head = other;
    return true;
  }
  return false;
}

}  // namespace farpage::journal_format
