// The journal of one appliance, and the parts of committed syncs that wait for their store.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "stores/journal.h"

namespace farpage {

// Parts that wait at once, at most.
inline constexpr size_t kJournalPartsMax = 256;
// Syncs that are in the journal at once, at most: one whose store hangs stays in it.
inline constexpr size_t kJournalSegmentsMax = 8;
// What a segment beyond the first one may keep between syncs.
inline constexpr uint64_t kSegmentKeepBytes = kJournalKeepBytes / kJournalSegmentsMax;
// How long a sync waits for a segment while others hold all of them.
inline constexpr uint64_t kSegmentWaitNs = 2'000'000'000;

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

// Opens a file of the journal, or makes it when it may. Fails: kFileNotFound, and as
// OsJournalFile::Open does.
using OpenJournalFile =
    std::function<Result<std::unique_ptr<JournalFile>>(const std::string& path, bool make)>;

// One file of the journal: it holds one sync at a time.
struct JournalSegment {
  std::unique_ptr<Journal> journal;
  bool taken = false;
  // Stores of the sync in it that could not be written.
  std::vector<uint32_t> unwritten;
};

// Where an opened journal is damaged.
struct JournalDamage {
  std::string path;
  uint64_t at = 0;
};

// PATH is the journal, of one segment, and PATH-segment-N are further ones, made when they are
// needed: a sync that has committed holds its segment until its stores have their pages, and the
// next sync takes another one. Numbers of syncs grow over all segments, and recovery applies what
// is committed in their order. Who syncs sees to it that no store is in two of them. A store that
// cannot take its pages (it is missing, replaced, full, broken) must not keep the others from
// theirs: its part goes to a file of its own, PATH-part-N, in the same format, and the segment is
// free. Nobody may use the store until that part is in it, or was abandoned by name. Before the
// first sync begins in a file of the journal it has a head, and then an empty file FILE.begun:
// where that is, a file without a head, or no file, is no new one but damaged. Thread: any.
class JournalFolder {
 public:
  // Opens the journal, or makes it. Fails: as Journal::Open, and kQuota (kJournalPartsMax).
  static Result<std::unique_ptr<JournalFolder>> Open(const std::string& path,
                                                     JournalDamage* damage = nullptr);
  // The same over any files.
  static Result<std::unique_ptr<JournalFolder>> Over(const std::string& path,
                                                     OpenJournalFile open_file,
                                                     JournalDamage* damage = nullptr);

  // What syncs before have left to do in segments that nobody has: what was committed is retired,
  // what was given up made void. Whoever syncs a store again asks for that first, or it would come
  // back over what is newer. Fails: as Finish does.
  Status EndEarlier();
  // A segment for the next sync, with nothing in it: of its caller alone until Return. The first
  // one of them that nobody has; the caller begins one sync before it takes a segment for the next,
  // so that a journal of several says so in its first file. Fails: kTimeout (others hold all of
  // them), and as files are made.
  Result<JournalSegment*> Take();
  void Return(JournalSegment* segment);
  // The number of the next sync.
  [[nodiscard]] uint64_t NextSequence() { return ++sequence_; }

  // Applies what is committed and what waits: each part to its store, where that can be. Fails
  // only when nothing could be kept for a store that could not be written; then the journal stays
  // as it is. Nobody has a segment.
  Status Recover(const OpenJournalStore& open, std::vector<RecoveredStore>* done);

  // After Commit: keeps the parts of the stores that were not written, and retires the sync.
  Status Finish(JournalSegment* segment);

  // Before a store is used: writes what waits for it. Fails: kFileChanged (what waits is for
  // another file of that name, or the file has become too short), and as its writes do.
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
    bool unlinked = false;  // not durably, or it would not be here
  };
  JournalFolder(std::string path, OpenJournalFile open_file)
      : path_(std::move(path)), open_file_(std::move(open_file)) {}
  [[nodiscard]] std::string PathOf(size_t segment) const;
  // The segment's file, made if it is not there.
  Status OpenSegment(size_t segment, bool make, JournalDamage* damage);
  // From here on it is known that the segment has a head.
  static Status SetBegun(const std::string& path);
  // What a head that cannot be read leaves unknown must not come back over what is newer.
  Status CheckDoubtful(JournalDamage* damage);
  // One that nobody has; null: others have all of them.
  Result<JournalSegment*> TakeFree();
  Status FindParts();
  Status FinishLocked(JournalSegment* segment);
  void RecoverParts(const OpenJournalStore& open, std::vector<RecoveredStore>* done);
  Status RecoverSegment(JournalSegment* segment, const OpenJournalStore& open,
                        std::vector<RecoveredStore>* done);
  Status Keep(const Journal& journal, uint32_t store);
  static Status WritePart(const std::string& path, const Journal& journal, uint32_t store);
  static Status ApplyPart(const Part& part, PageStore& to);
  Status Remove(const std::string& part_path);

  const std::string path_;
  const OpenJournalFile open_file_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable returned_;
  // Those without a journal were not needed yet.
  std::array<JournalSegment, kJournalSegmentsMax> segments_;
  std::atomic<uint64_t> sequence_{0};  // of the newest sync that was begun
  std::vector<Part> parts_;
  std::atomic<size_t> waiting_{0};  // how many there are, for who looks without the lock
  uint64_t last_part_ = 0;
};

}  // namespace farpage
