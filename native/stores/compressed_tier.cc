#include "stores/compressed_tier.h"

#include <sys/mman.h>

#include <bit>
#include <cstring>

#include "base/page.h"
#include "stores/page_codec.h"

namespace farpage {
namespace {

constexpr uint64_t kChunkPages = 16;
uint64_t ChunkBytes() { return kChunkPages * kPageBytes; }
// Slots of pages that are one value over and over: no memory behind them.
constexpr TierSlot kUniform = TierSlot{1} << (kTierSlotBits - 1);
constexpr uint32_t kSlotBits = 8;

uint64_t ClassBytes(uint32_t size_class) { return size_class * (kPageBytes / kSizeClasses); }
uint32_t SlotsOf(uint32_t size_class) {
  return static_cast<uint32_t>(ChunkBytes() / ClassBytes(size_class));
}
TierSlot SlotOf(uint32_t chunk, uint32_t index) {
  return (TierSlot{chunk} << kSlotBits) | index;
}
uint32_t ChunkOf(TierSlot slot) { return static_cast<uint32_t>(slot >> kSlotBits); }
uint32_t IndexOf(TierSlot slot) { return static_cast<uint32_t>(slot & (kChunkSlotsMax - 1)); }

static_assert(kChunkSlotsMax == 1u << kSlotBits);
static_assert(kChunkPages * kSizeClasses <= kChunkSlotsMax, "slots of the smallest class");

}  // namespace

Result<std::unique_ptr<CompressedTier>> CompressedTier::Create(uint64_t capacity_bytes) {
  const uint64_t chunks = capacity_bytes / ChunkBytes();
  if (chunks == 0) return Error{Code::kArgument, 0, "a compressed tier holds no chunk"};
  auto memory = Mapping::Anonymous(chunks * ChunkBytes());
  if (!memory.ok()) return memory.error();
  ::madvise(memory.value().data(), memory.value().size(), MADV_DONTDUMP);
  return std::unique_ptr<CompressedTier>(
      new CompressedTier(std::move(memory).value()));
}

uint64_t CompressedTier::capacity_bytes() const { return memory_.size(); }

std::byte* CompressedTier::AddressOf(TierSlot slot) const {
  const uint32_t chunk = ChunkOf(slot);
  return memory_.data() + chunk * ChunkBytes() +
         IndexOf(slot) * ClassBytes(chunks_[chunk].size_class);
}

void CompressedTier::List(uint32_t number) {
  std::vector<uint32_t>& open = open_[chunks_[number].size_class];
  chunks_[number].position = static_cast<uint32_t>(open.size());
  open.push_back(number);
}

void CompressedTier::Unlist(uint32_t number) {
  std::vector<uint32_t>& open = open_[chunks_[number].size_class];
  const uint32_t position = chunks_[number].position;
  open[position] = open.back();
  chunks_[open[position]].position = position;
  open.pop_back();
}

// Gives a class one more chunk; false when there is none.
bool CompressedTier::OpenChunk(uint32_t size_class) {
  auto number = static_cast<uint32_t>(chunks_.size());
  if (!free_.empty()) {
    number = free_.back();
    free_.pop_back();
  } else if (number < memory_.size() / ChunkBytes()) {
    chunks_.emplace_back();
  } else {
    return false;
  }
  chunks_[number].size_class = size_class;
  List(number);
  used_.fetch_add(ChunkBytes(), std::memory_order_relaxed);
  return true;
}

bool CompressedTier::Take(uint32_t size_class, uint32_t length, TierSlot* slot) {
  if (open_[size_class].empty() && !OpenChunk(size_class)) return false;
  const uint32_t number = open_[size_class].back();
  Chunk& chunk = chunks_[number];
  uint32_t word = 0;
  while (chunk.taken[word] == ~uint64_t{0}) word++;
  const uint32_t index = word * 64 + static_cast<uint32_t>(std::countr_one(chunk.taken[word]));
  chunk.taken[word] |= uint64_t{1} << (index % 64);
  chunk.lengths[index] = static_cast<uint16_t>(length);
  if (++chunk.used == SlotsOf(size_class)) Unlist(number);
  *slot = SlotOf(number, index);
  return true;
}

void CompressedTier::Put(std::span<TierPage> pages) {
  thread_local std::vector<std::byte> packed;
  packed.resize(kPageBytes);
  for (TierPage& page : pages) {
    std::byte value{};
    page.outcome = {};
    if (IsUniformPage(page.bytes, &value)) {
      page.slot = kUniform | static_cast<TierSlot>(value);
      pages_.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    // What would need a whole page's slot anyway is kept raw. Fits 16 bits, also of 64 KiB.
  const auto room = static_cast<uint32_t>(ClassBytes(kSizeClasses - 1));
    const uint32_t length = CompressPage(page.bytes, packed.data(), room);
    const uint64_t step = kPageBytes / kSizeClasses;
    const uint32_t size_class =
        length == 0 ? kSizeClasses : static_cast<uint32_t>((length + step - 1) / step);
    std::lock_guard<std::mutex> lock(mutex_);
    if (!Take(size_class, length, &page.slot)) {
      page.outcome = Error{Code::kNoSpace, 0, "compressed memory is full"};
      continue;
    }
    if (length == 0) {
      std::memcpy(AddressOf(page.slot), page.bytes, kPageBytes);
    } else {
      std::memcpy(AddressOf(page.slot), packed.data(), length);
    }
    pages_.fetch_add(1, std::memory_order_relaxed);
  }
}

Status CompressedTier::Get(TierSlot slot, std::byte* into) {
  if ((slot & kUniform) != 0) {
    std::memset(into, static_cast<int>(slot & 0xff), kPageBytes);
    return {};
  }
  const std::byte* from = nullptr;
  uint32_t length = 0;
  {
    // The slot itself stays: nobody frees it while it is read. The chunk list may grow.
    std::lock_guard<std::mutex> lock(mutex_);
    from = AddressOf(slot);
    length = chunks_[ChunkOf(slot)].lengths[IndexOf(slot)];
  }
  if (length == 0) {
    std::memcpy(into, from, kPageBytes);
    return {};
  }
  if (DecompressPage(from, length, into)) return {};
  return Error{Code::kPageLost, 0, "compressed memory holds no page here"};
}

void CompressedTier::Free(TierSlot slot) {
  pages_.fetch_sub(1, std::memory_order_relaxed);
  if ((slot & kUniform) != 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t number = ChunkOf(slot);
  const uint32_t index = IndexOf(slot);
  Chunk& chunk = chunks_[number];
  chunk.taken[index / 64] &= ~(uint64_t{1} << (index % 64));
  if (chunk.used-- == SlotsOf(chunk.size_class)) List(number);
  if (chunk.used != 0) return;
  Unlist(number);
  chunk.size_class = 0;
  free_.push_back(number);
  used_.fetch_sub(ChunkBytes(), std::memory_order_relaxed);
  ::madvise(memory_.data() + number * ChunkBytes(), ChunkBytes(), MADV_DONTNEED);
}

}  // namespace farpage
