// Regions that outlive the processes which use them, and what may be found in them by whoever looks
// next: kept in memory that outlives these processes as well.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <span>

#include "base/page.h"

namespace farpage::test {

// What the regions are: a file mapped, a file with memory of its own, a kept file filled with ones.
enum class KilledKind : uint32_t { kMapped, kStaged, kKept };
inline constexpr uint32_t kKilledRegions = 3;

// A region is written by cells, and ends within a page. A WRITE of one cell never tears.
inline constexpr uint64_t kCellBytes = 256;
inline constexpr uint64_t kCells = 600 * 16 - 3;
inline constexpr uint64_t kKilledBytes = kCells * kCellBytes;
inline uint64_t CellsOfPage() { return kPageBytes / kCellBytes; }
inline uint64_t CellsUpTo(PageIndex page) { return std::min(page * CellsOfPage(), kCells); }
inline uint64_t KilledPages() { return (kKilledBytes + kPageBytes - 1) >> kPageShift; }

// Blocks of cells have one owner. Of every other block cells are written one by one, of
// the rest many at once.
inline constexpr uint64_t kBlockCells = 256;
inline constexpr uint64_t kBlocks = (kCells + kBlockCells - 1) / kBlockCells;
inline bool IsWrittenByCells(uint64_t block) { return block % 2 == 0; }

using CellBytes = std::array<std::byte, kCellBytes>;

// What a cell holds as its `version`; as 0 what nobody wrote. One page in four cannot be
// compressed.
inline CellBytes CellOf(uint32_t region, uint64_t cell, uint32_t version) {
  CellBytes bytes;
  if (version == 0 && static_cast<KilledKind>(region) == KilledKind::kKept) {
    bytes.fill(std::byte{0xff});
    return bytes;
  }
  const bool dense = cell / CellsOfPage() % 4 == 0;
  for (uint64_t at = 0; at < kCellBytes; at += sizeof(uint64_t)) {
    uint64_t word = (uint64_t{version} << 32) + (cell << 4) + region + (dense ? at << 48 : 0);
    word = (word ^ (word >> 31)) * 0x9e3779b97f4a7c15;
    word = (word ^ (word >> 29)) * 0xbf58476d1ce4e5b9;
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
  return bytes;
}

// What may be found of a cell: the version that a sync has brought to safety, or that was found,
// and each of those that were begun after it.
class CellRecord {
 public:
  // Of a cell in which more than one version may be: it was being written.
  static constexpr uint32_t kUnknown = ~uint32_t{0};

  // Of the owner: the version that it is about to write, and that this was answered.
  uint32_t Begin() { return newest_.fetch_add(1) + 1; }
  void End(uint32_t version) { written_.store(version); }
  // What the owner must find.
  [[nodiscard]] uint32_t written() const { return written_.load(); }
  [[nodiscard]] bool touched() const { return newest_.load() != 0; }
  // Something of it was brought to safety.
  [[nodiscard]] bool safe() const { return SafeOf(bounds_.load()) != 0; }

  // A sync that began when `version` was written has ended well.
  void Promise(uint32_t version) {
    uint64_t bounds = bounds_.load();
    while (version != kUnknown && version > SafeOf(bounds) &&
           !bounds_.compare_exchange_weak(bounds, Bounds(version, version + 1))) {
    }
  }

  // Whether this may be found by the next process, which goes on from there. With `whole` it is
  // one version, else each byte may be of another one.
  bool Find(uint32_t region, uint64_t cell, std::span<const std::byte> found, bool whole) {
    const uint64_t bounds = bounds_.load();
    const uint32_t newest = newest_.load();
    std::array<bool, kCellBytes> known{};
    for (uint32_t version = SafeOf(bounds); version <= newest;
         version = std::max(version + 1, FirstOf(bounds))) {
      const CellBytes bytes = CellOf(region, cell, version);
      if (std::equal(found.begin(), found.end(), bytes.begin())) {
        bounds_.store(Bounds(version, newest + 1));
        written_.store(version);
        return true;
      }
      for (size_t n = 0; n < kCellBytes; n++) known[n] = known[n] || bytes[n] == found[n];
    }
    written_.store(kUnknown);
    return !whole && std::find(known.begin(), known.end(), false) == known.end();
  }

 private:
  // One word, so that whoever is killed leaves both or none.
  static uint64_t Bounds(uint32_t safe, uint32_t first) { return uint64_t{safe} << 32 | first; }
  static uint32_t SafeOf(uint64_t bounds) { return static_cast<uint32_t>(bounds >> 32); }
  static uint32_t FirstOf(uint64_t bounds) { return static_cast<uint32_t>(bounds); }

  std::atomic<uint64_t> bounds_{0};
  std::atomic<uint32_t> newest_{0};
  std::atomic<uint32_t> written_{0};
};

// What is known of all regions, and how far the present process has come.
struct KilledRecord {
  std::array<std::array<CellRecord, kCells>, kKilledRegions> cells;
  std::atomic<uint64_t> steps;     // of this process: batches that ended
  std::atomic<uint64_t> checked;   // cells that were found as they may be, by all
  std::atomic<uint64_t> syncs;     // that ended well
  std::atomic<uint32_t> tiers;     // one bit for each that took a page in this process
};

}  // namespace farpage::test
