// What the table file of a region in the memory directory begins with.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/crc32c.h"
#include "memory/memory_files.h"

namespace farpage {

inline constexpr std::array<char, 8> kMagic = {'F', 'A', 'R', 'P', 'A', 'G', 'E', 'M'};
inline constexpr uint32_t kFormat = 1;
// A whole page of any system.
inline constexpr uint64_t kHeaderBytes = 65536;
// Words that are reserved together.
inline constexpr uint64_t kChunkBytes = 4096;
inline constexpr uint64_t kChunkWords = kChunkBytes / sizeof(PageWord);

// What a life of the region began with. The caller hears of it later, or dies before: until then
// whoever opens the files again has to tell the same.
struct MemoryFiles::Found {
  Adoption outcome = Adoption::kAdopted;
  bool setting_aside = false;  // the words of what is in the conflict file may still say so
  uint32_t conflict = 0;       // the number of that file; 0: none

  [[nodiscard]] uint64_t Word() const {
    return uint64_t{conflict} << 32 | (setting_aside ? kSettingAside : 0) |
           (static_cast<uint64_t>(outcome) + 1);
  }
  // 0 is of a version that noted nothing.
  static Found Of(uint64_t word) {
    const uint64_t outcome = word & (kSettingAside - 1);
    if (outcome == 0 || outcome > static_cast<uint64_t>(Adoption::kStale) + 1) return {};
    return {static_cast<Adoption>(outcome - 1), (word & kSettingAside) != 0,
            static_cast<uint32_t>(word >> 32)};
  }
  static constexpr uint64_t kSettingAside = 0x100;
};

// As it stands in the first page of the table file. Everything up to `checksum` never changes
// while the files belong to one region and boot; what follows does.
struct MemoryFiles::Header {
  std::array<char, 8> magic;
  uint32_t format;
  uint32_t page_bytes;
  uint64_t size_bytes;
  std::array<char, 64> id;
  std::array<char, 64> boot_id;
  uint32_t checksum;
  std::atomic<uint32_t> writing;
  StoreIdentity store;
  std::atomic<uint64_t> life;
  std::atomic<uint64_t> found;  // Found::Word; 0 of a version that had none

  // To this region in this boot, and it is whole.
  [[nodiscard]] bool BelongsTo(const Options& options) const {
    return magic == kMagic && format == kFormat && page_bytes == kPageBytes && checksum == Sum() &&
           options.id == id.data() && options.boot_id == boot_id.data();
  }
  [[nodiscard]] uint32_t Sum() const {
    return Crc32c(0, {reinterpret_cast<const std::byte*>(this), offsetof(Header, checksum)});
  }
};

}  // namespace farpage
