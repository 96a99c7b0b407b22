// What the region access unit permits, range by range: the bound on the rights of page words.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/page_state.h"

namespace farpage {

// Ranges of one region that permit less than the region itself, at most.
inline constexpr size_t kProtectedRangesMax = 1024;

enum class Permission : uint8_t { kNone, kRead, kReadWrite };

// The word flags that a permission leaves nobody.
constexpr PageWord ForbiddenBy(Permission permission) {
  switch (permission) {
    case Permission::kNone: return kReadable | kWritable;
    case Permission::kRead: return kWritable;
    case Permission::kReadWrite: break;
  }
  return 0;
}

struct ProtectedRange {
  PageRun run;
  Permission permission = Permission::kNone;
  bool operator==(const ProtectedRange&) const = default;
};

// A sorted list of ranges; what none of them covers permits all that the region does. The fabric
// looks at page words and never at this: it is asked where words are given READABLE or WRITABLE,
// and before an absent page is filled for somebody. Thread: any.
class Protection {
 public:
  // A look at the list, and whatever is done by it. Set() returns when no look at an older list is
  // left, so it is short: never across a wait. Takes no lock.
  class View {
   public:
    explicit View(const Protection& of);
    ~View();
    View(const View&) = delete;
    View& operator=(const View&) = delete;

    // The flags that the word of this page may not have.
    [[nodiscard]] PageWord Forbidden(PageIndex page) const {
      return list_ == nullptr ? 0 : ForbiddenBy(Find(page));
    }
    // How many pages at the start of `run` may have `right`.
    [[nodiscard]] uint64_t Permitted(PageRun run, PageWord right) const;
    [[nodiscard]] Permission Find(PageIndex page) const;

   private:
    const Protection& of_;
    uint64_t epoch_;
    const std::vector<ProtectedRange>* list_;
  };

  Protection() = default;
  ~Protection();
  Protection(const Protection&) = delete;
  Protection& operator=(const Protection&) = delete;

  // From its return on, nobody gives a word of `run` more than `permission`; words that have more
  // are the caller's to change. Fails: kQuota, with the list as it was. Waits for looks under way.
  Status Set(PageRun run, Permission permission);

  // The list as it is: in order, neighbours of the same permission in one, no kReadWrite.
  [[nodiscard]] std::vector<ProtectedRange> Ranges() const;

 private:
  // Looks by the epoch they began in, even and odd: one that Set() waits for, and the next one.
  mutable std::array<std::atomic<uint32_t>, 2> looks_{};
  std::atomic<uint64_t> epoch_{0};
  std::atomic<const std::vector<ProtectedRange>*> list_{nullptr};  // null: nothing is protected
  mutable std::mutex mutex_;  // one Set at a time
};

}  // namespace farpage
