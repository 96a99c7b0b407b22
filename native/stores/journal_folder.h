// The journal of one appliance, and the parts of committed syncs that wait for their store.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "stores/journal.h"

namespace farpage {

// Parts that wait at once, at most.
inline constexpr size_t kJournalPartsMax = 256;

// What recovery did for one store of a committed sync.
struct RecoveredStore {
  JournalStore store;
  uint64_t pages = 0;
  uint64_t bytes = 0;
  // Of the journal or of a part: what was written, else why it could not be.
  Status outcome;
};

// Opens a store that a committed sync names, to write it. Fails when it is not there, or is
// another one under the same name.
using OpenJournalStore =
    std::function<Result<std::unique_ptr<PageStore>>(const JournalStore& store)>;

// PATH is the journal. A store that cannot take its pages (it is missing, replaced, full, broken)
// must not keep the others from theirs: its part goes to a file of its own, PATH-part-N, in the
// same format, and the journal is free. Nobody may use the store until that part is in it, or was
// abandoned by name. Thread: any; calls take turns under a lock.
class JournalFolder {
 public:
  // Opens the journal, or makes it. Fails: as Journal::Open, and kQuota (kJournalPartsMax).
  static Result<std::unique_ptr<JournalFolder>> Open(const std::string& path,
                                                     uint64_t* damaged_at = nullptr);
  // The same over any file.
  static Result<std::unique_ptr<JournalFolder>> Over(const std::string& path,
                                                     std::unique_ptr<JournalFile> file,
                                                     uint64_t* damaged_at = nullptr);

  // Requires: the owner of the lock, or nobody else has it.
  [[nodiscard]] Journal& journal() { return *journal_; }
  [[nodiscard]] std::mutex& mutex() { return mutex_; }

  // Applies what is committed and what waits: each part to its store, where that can be. Fails
  // only when nothing could be kept for a store that could not be written; then the journal stays
  // as it is.
  Status Recover(const OpenJournalStore& open, std::vector<RecoveredStore>* done);

  // After Commit, under the lock: keeps the parts of the stores that `unwritten` tells, and
  // retires the sync.
  Status Finish(const std::vector<uint32_t>& unwritten);

  // Before a store is used: writes what waits for it. Fails: kFileChanged (what waits is for
  // another file of that name, or the file has become too short), and as its writes do. Does not
  // wait for a sync that is under way unless something waits.
  Status Admit(const JournalStore& store, PageStore& to);

  // Forgets what waits for the files of this name; how many pages that were.
  Result<uint64_t> Abandon(const std::string& path);

  // What waits now. Thread: any.
  [[nodiscard]] std::vector<JournalStore> Waiting();

  // Opens the file that is named, if it is still that one.
  static Result<std::unique_ptr<PageStore>> OpenNamed(const JournalStore& store);

 private:
  struct Part {
    std::string path;
    JournalStore store;
    uint64_t pages;
  };
  JournalFolder(std::string path, std::unique_ptr<Journal> journal)
      : path_(std::move(path)), journal_(std::move(journal)) {}
  Status FindParts();
  Status Keep(uint32_t store);
  Status WritePart(const std::string& path, uint32_t store);
  static Status ApplyPart(const Part& part, PageStore& to);
  Status Remove(size_t part);

  const std::string path_;
  std::mutex mutex_;
  std::unique_ptr<Journal> journal_;
  std::vector<Part> parts_;
  std::atomic<size_t> waiting_{0};  // how many there are, for who looks without the lock
  uint64_t last_part_ = 0;
};

}  // namespace farpage
