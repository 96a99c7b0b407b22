// Adopting what the files of a region have: repairing, setting aside, discarding.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "memory/memory_files_header.h"

namespace farpage {
namespace {

// Unsaved, and its bytes are in the memory file.
bool IsOnlyHere(PageWord word) {
  const PageState state = StateOf(word);
  return (word & kUnsafe) != 0 && state != PageState::kLost && state != PageState::kFilling;
}

bool HasData(int fd, PageIndex page) {
  const auto at = static_cast<off_t>(page << kPageShift);
  const off_t found = ::lseek(fd, at, SEEK_DATA);
  return found >= 0 && found < at + static_cast<off_t>(kPageBytes);
}

}  // namespace

void MemoryFiles::Punch(PageIndex page) const {
  ::fallocate(memory_fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(page << kPageShift), static_cast<off_t>(kPageBytes));
}

// The word that a page begins its next life with.
PageWord MemoryFiles::Repaired(PageIndex page, PageWord word, bool writable) {
  const PageState state = StateOf(word);
  const PageWord dirty = (word & kUnsafe) != 0 ? kDirty : 0;
  const bool other_store = Disowned();
  // What another store was given is not in this one.
  const PageWord lasting = dirty == 0 && other_store ? 0 : word & kHistory;
  if (state == PageState::kAbsent) return lasting;
  if (state == PageState::kLost) return lasting | static_cast<PageWord>(state) | dirty;
  const bool whole = state == PageState::kPresent || state == PageState::kCopying;
  if (!whole || state == PageState::kCopying ||
      (word & (kWriteback | kUnsynced | kWaiters | kHeld)) != 0) {
    report_.repaired_pages++;
  }
  if (!whole && dirty != 0) {
    // A lost page on its way to new bytes: nobody was told that it has them.
    Punch(page);
    return lasting | static_cast<PageWord>(PageState::kLost) | dirty;
  }
  if (!whole || (dirty == 0 && other_store)) {
    if (whole) report_.dropped_pages++;
    Punch(page);
    return lasting;
  }
  (dirty != 0 ? report_.dirty_pages : report_.clean_pages)++;
  return lasting | static_cast<PageWord>(PageState::kPresent) | kReadable |
         (writable && dirty != 0 ? kWritable : 0) | dirty;
}

void MemoryFiles::NoteConflict(PageIndex page) {
  report_.conflict_pages++;
  auto& runs = report_.conflicts;
  if (!runs.empty() && runs.back().end() == page) {
    runs.back().count++;
  } else if (runs.size() < kConflictRunsMax) {
    runs.push_back({page, 1});
  }
}

std::string MemoryFiles::ConflictFile(uint32_t number) const {
  return options_.directory + "/" + options_.id + ".conflict-" + std::to_string(number);
}

bool MemoryFiles::HasNoMemory() const {
  return ::lseek(memory_fd_.get(), 0, SEEK_DATA) < 0 && errno == ENXIO;
}

// Bytes of pages may have been cut off.
Result<bool> MemoryFiles::IsCut() const {
  struct stat status{};
  if (::fstat(memory_fd_.get(), &status) != 0) return SystemError("fstat");
  return static_cast<uint64_t>(status.st_size) < options_.size_bytes;
}

// The memory file gets a name of its own beside the region, and the region an empty one.
Status MemoryFiles::SetAside() {
  uint32_t n = 1;
  while (n <= kConflictFilesMax && ::access(ConflictFile(n).c_str(), F_OK) == 0) n++;
  if (n > kConflictFilesMax) {
    return Error{Code::kQuota, 0, "too many conflicts of this region are kept; remove some"};
  }
  // Who dies from now on has set the bytes aside where that file is there, and else not.
  header()->found.store(Found{report_.outcome, true, n}.Word());
  const std::string memory = options_.directory + "/" + options_.id + ".memory";
  if (::rename(memory.c_str(), ConflictFile(n).c_str()) != 0) return FullOr("rename conflict");
  auto fresh = OpenFile(memory);
  if (!fresh.ok()) return fresh.error();
  memory_fd_ = std::move(fresh).value();
  aside_ = n;
  return {};
}

template <typename Visit>
void MemoryFiles::EachWord(Visit visit) const {
  const uint64_t pages = (options_.size_bytes + kPageBytes - 1) >> kPageShift;
  for (PageIndex page = NextTouched(0); page < pages; page = NextTouched(page)) {
    const PageIndex end = std::min(pages, (page / kChunkWords + 1) * kChunkWords);
    for (; page < end; page++) visit(page, words()[page]);
  }
}

Status MemoryFiles::Adopt(bool writable) {
  if (settled_ || report_.outcome == Adoption::kMade || report_.outcome == Adoption::kDiscarded) {
    return {};
  }
  const bool conflict = Disowned();
  const bool again = options_.life != options_.next_life && header()->life == options_.next_life;
  const Found before = Found::Of(header()->found);
  // Somebody died, or gave up, when the bytes had been set aside.
  Fd earlier;
  if (before.conflict != 0 && (again || (before.setting_aside && HasNoMemory()))) {
    earlier = Fd(::open(ConflictFile(before.conflict).c_str(), O_RDONLY | O_CLOEXEC));
    if (earlier.valid()) aside_ = before.conflict;
  }
  const bool is_aside = earlier.valid() && HasNoMemory();
  uint64_t only_here = 0;
  EachWord([&](PageIndex page, std::atomic<PageWord>& word) {
    const PageWord seen = word.load(std::memory_order_relaxed);
    if (conflict && IsOnlyHere(seen)) {
      only_here++;
      NoteConflict(page);
      return;
    }
    if (earlier.valid() && StateOf(seen) == PageState::kLost && HasData(earlier.get(), page)) {
      NoteConflict(page);
    }
    word.store(Repaired(page, seen, writable), std::memory_order_relaxed);
  });
  if (!is_aside && report_.clean_pages + report_.dirty_pages + only_here != 0) {
    const auto cut = IsCut();
    if (!cut.ok()) return cut.error();
    if (cut.value()) return DiscardAll();
  }
  if (only_here != 0) {
    // Set aside before the words change: who dies in between meets the same conflict again.
    if (!is_aside) {
      if (Status aside = SetAside(); !aside.ok()) return aside;
    }
    EachWord([&](PageIndex, std::atomic<PageWord>& word) {
      const PageWord seen = word.load(std::memory_order_relaxed);
      if (!IsOnlyHere(seen)) return;
      word.store((seen & kHistory) | static_cast<PageWord>(PageState::kLost) | kDirty,
                 std::memory_order_relaxed);
    });
  }
  // Nobody has served a write since: what this life began with is all that is to be told.
  if (again && report_.dirty_pages == 0 && (only_here == 0 || is_aside) &&
      before.outcome != Adoption::kAdopted) {
    report_.outcome = before.outcome;
  }
  if (aside_ != 0) report_.conflict_file = ConflictFile(aside_);
  // Last, and the store after it: who dies before finds the same memory as old as it was.
  BeginLife({report_.outcome, aside_ != 0, aside_});
  if (conflict) EndWrite(options_.store);
  BeginLife({report_.outcome, false, aside_});
  return {};
}

}  // namespace farpage
