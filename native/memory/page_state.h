// The page word: one 32-bit atomic per page, the fabric's translation table. Presence and
// permission indicators live here and nowhere else.
#pragma once

#include <array>
#include <cstdint>

namespace farpage {

using PageWord = uint32_t;

enum class PageState : uint32_t {
  kAbsent = 0,    // not initialised in region memory
  kFilling = 1,   // claimed by exactly one fill
  kPresent = 2,   // initialised
  kEvicting = 3,  // taken from the fabric, memory not yet returned
  kCopying = 4,   // may be read, not written: its private copy is being replaced
  kLost = 5,      // its newest bytes could not be kept; poisoned until overwritten
};
inline constexpr uint32_t kPageStates = 6;

inline constexpr PageWord kStateMask = 0x7;
inline constexpr PageWord kReadable = 1u << 3;   // may be read without a fault
inline constexpr PageWord kWritable = 1u << 4;   // may be written without a fault
inline constexpr PageWord kDirty = 1u << 5;      // written since it was last written back
inline constexpr PageWord kWriteback = 1u << 6;  // on its way to the store
inline constexpr PageWord kUnsynced = 1u << 7;   // the store has it, fdatasync has not said so
inline constexpr PageWord kWritten = 1u << 8;    // written at least once since allocation
inline constexpr PageWord kAccessed = 1u << 9;   // used, as far as the clock hand has not taken it
inline constexpr PageWord kWaiters = 1u << 10;   // somebody waits for the state to change
inline constexpr PageWord kEpoch = 1u << 11;     // the epoch it was dirtied in
inline constexpr PageWord kElsewhere = 1u << 12; // its newest bytes are in a tier, or on the way
inline constexpr PageWord kHeld = 1u << 13;      // filled for a waiter that has not used it yet
inline constexpr PageWord kAhead = 1u << 14;     // its first use asks for the next read-ahead
inline constexpr PageWord kTrial = 1u << 15;     // not used again since it was filled
inline constexpr PageWord kUnused = 1u << 16;    // the use that it was filled for is still to come
inline constexpr PageWord kStored = 1u << 17;    // its store was given bytes of it since allocation
inline constexpr PageWord kTwice = 1u << 18;     // ACCESSED and used again
inline constexpr PageWord kOften = 1u << 19;     // and again: more is not counted
inline constexpr uint32_t kUsedShift = 20;       // from here on: when it was last used, by UseClock
inline constexpr PageWord kUsed = 0xfffu << kUsedShift;
// The same bits of an absent page that was evicted: when, in steps of evictions.
inline constexpr PageWord kGhost = kUsed;

// Whoever has one of these has bytes that the store may not have: dropped only into a tier.
inline constexpr PageWord kUnsafe = kDirty | kWriteback | kUnsynced;

// What was ever done to a page.
inline constexpr PageWord kHistory = kWritten | kStored;

// What an absent page keeps: what was ever done to it, and where its bytes are.
inline constexpr PageWord kLastingAbsent = kHistory | kUnsafe | kEpoch | kElsewhere;

// A dirty page whose newest bytes are given up: what its store never got was never written.
constexpr PageWord GivenUp(PageWord word) {
  return word & ~(kUnsafe | ((word & kStored) != 0 ? 0 : kWritten));
}

constexpr PageState StateOf(PageWord word) { return static_cast<PageState>(word & kStateMask); }
constexpr PageWord WithState(PageWord word, PageState state) {
  return (word & ~kStateMask) | static_cast<PageWord>(state);
}

// The uses that are remembered, one bit each. The clock hand takes one whenever it passes.
inline constexpr PageWord kUses = kAccessed | kTwice | kOften;
inline constexpr uint32_t kUsesMax = 3;

constexpr PageWord WithUse(PageWord word) {
  if ((word & kAccessed) == 0) return word | kAccessed;
  return word | ((word & kTwice) == 0 ? kTwice : kOften);
}
constexpr PageWord WithoutUse(PageWord word) {
  if ((word & kOften) != 0) return word & ~kOften;
  return word & ~((word & kTwice) != 0 ? kTwice : kAccessed);
}

// Evictions in steps, each of a part of the frames, as the word has them: round and round, never 0.
inline constexpr uint32_t kGhostStampMax = kGhost >> kUsedShift;
constexpr PageWord GhostStamp(uint64_t step) {
  return static_cast<PageWord>(step % kGhostStampMax + 1) << kUsedShift;
}
// Steps from the stamp in a word to `now`; as many as there are where there is none.
constexpr uint32_t GhostAge(PageWord word, PageWord now) {
  if ((word & kGhost) == 0) return kGhostStampMax;
  return ((now >> kUsedShift) + kGhostStampMax - (word >> kUsedShift)) % kGhostStampMax;
}

// True: present, and not used again since it was filled; of a dirty one: not read.
constexpr bool OnTrial(PageWord word) {
  return (word & kTrial) != 0 && StateOf(word) == PageState::kPresent;
}

namespace page_state_detail {
constexpr uint8_t Bit(PageState state) {
  return static_cast<uint8_t>(1u << static_cast<uint32_t>(state));
}
// Row: state now; bits: states it may enter.
inline constexpr std::array<uint8_t, kPageStates> kNext = {
    Bit(PageState::kFilling),                            // absent: a fault claimed it
    static_cast<uint8_t>(Bit(PageState::kPresent) | Bit(PageState::kAbsent) |
                         Bit(PageState::kLost)),         // filling: installed, failed, or lost
    static_cast<uint8_t>(Bit(PageState::kEvicting) | Bit(PageState::kCopying) |
                         Bit(PageState::kLost)),         // present
    static_cast<uint8_t>(Bit(PageState::kAbsent) | Bit(PageState::kPresent) |
                         Bit(PageState::kLost)),         // evicting: gone, stays, or lost
    static_cast<uint8_t>(Bit(PageState::kPresent) | Bit(PageState::kLost)),    // copying
    static_cast<uint8_t>(Bit(PageState::kFilling) | Bit(PageState::kAbsent)),  // lost: healed
};
}  // namespace page_state_detail

constexpr bool MayMove(PageState from, PageState to) {
  return (page_state_detail::kNext[static_cast<uint32_t>(from)] >> static_cast<uint32_t>(to)) & 1;
}

// The whole rule: the states allow it, and a page with bytes the store lacks is dropped only when a
// tier has them.
constexpr bool MayChange(PageWord from, PageWord to) {
  if (StateOf(from) == StateOf(to)) return true;
  if (!MayMove(StateOf(from), StateOf(to))) return false;
  const PageState next = StateOf(to);
  const bool drops = next == PageState::kEvicting || next == PageState::kAbsent;
  return !drops || StateOf(from) == PageState::kLost || (from & kUnsafe) == 0 ||
         (to & kElsewhere) != 0;
}

static_assert(!MayMove(PageState::kPresent, PageState::kAbsent), "eviction waits a grace period");
static_assert(!MayMove(PageState::kAbsent, PageState::kPresent), "a fill claims its page first");
static_assert(!MayChange(static_cast<PageWord>(PageState::kPresent) | kDirty,
                         static_cast<PageWord>(PageState::kEvicting)),
              "a dirty page is never dropped");
static_assert(!MayChange(static_cast<PageWord>(PageState::kPresent) | kUnsynced,
                         static_cast<PageWord>(PageState::kEvicting)),
              "a page is not safe before fdatasync said so");

}  // namespace farpage
