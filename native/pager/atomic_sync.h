// Syncs that happen wholly or not at all, of one region or several, whose content is that of one
// instant, while writers go on.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "memory/region.h"
#include "memory/shootdown.h"
#include "os/thread.h"
#include "pager/image_pool.h"
#include "pager/waiter_list.h"
#include "pager/write_back.h"
#include "stores/journal_folder.h"

namespace farpage {

// Pages taken from memory before the sync looks what writers have handed it.
inline constexpr uint32_t kPagesPerDrain = 32;
// Syncs under way at once, at most: as many as the journal holds, and one that finds it full.
inline constexpr size_t kSyncThreadsMax = kJournalSegmentsMax + 1;
// How long a sync takes before those of several regions, its own among them, hold up the others of
// theirs no longer.
inline constexpr uint64_t kStuckSyncNs = 500'000'000;

struct AtomicReceipt {
  // Of the members, in their order.
  std::vector<WriteBackReceipt> members;
  uint64_t sequence = 0;  // of the sync in the journal; 0: nothing was dirty
};
using AtomicSyncDone = std::function<void(Result<AtomicReceipt>)>;

// Freeze: every dirty page carries the epoch it was dirtied in. The bit of the epoch is flipped
// once, for all regions; a grace period later no write of the old epoch is under way, and the pages
// that are dirty with it are the sync, byte for byte. Each is taken once: by the sync's thread, or
// by a writer who needs it before (Thaw), into an image that the sync takes from there. Both are a
// copy in memory: nobody waits for the device. Then journal, stores, and the journal is free
// (stores/journal.h). From the taking on a page is WRITEBACK, and clean when its store has it.
// Nobody else asks for the durability of a member's store meanwhile (Region::write_back): a failed
// fdatasync(2) is told once, and a pull has pages of its own on their way there.
// Syncs follow one another until they are in the journal; then the next one may begin, in another
// segment of it, if it is of other regions: a store that hangs delays its own regions only. Thread:
// any; each sync has one of few threads, which start when they are needed.
class AtomicSync {
 public:
  struct Member {
    std::shared_ptr<Region> region;
    PageRun run;
  };
  enum class Thawed : uint8_t {
    kReady,  // look at the word again
    kAgain,  // the instant is being made: come back in the next turn
    kWait,   // no room for another image: wait until the page has been taken
  };

  AtomicSync(Shootdown& shootdown, WaiterList& waiters)
      : shootdown_(shootdown), waiters_(waiters) {}
  ~AtomicSync() { Close(); }

  // Uses this journal from now on. Requires: no sync yet.
  void UseJournal(std::shared_ptr<JournalFolder> journal);
  [[nodiscard]] JournalFolder* journal() const { return now_.load(std::memory_order_acquire); }
  [[nodiscard]] const SyncEpoch& epoch() const { return epoch_; }

  // The part of a committed sync that waits for the store of a region of this size is written to
  // it first. Fails: as JournalFolder::Admit. Thread: any.
  Status Admit(PageStore& store, uint64_t size_bytes);

  // Syncs the dirty pages of all members as one. `done` is called on the sync's thread. Fails:
  // kNoSpace, kIo (nothing happened, or all of it will have once the stores take it), kPageLost,
  // kUnsupported (a member is not atomic), kQuota, kTimeout (the journal is full of syncs whose
  // stores do not answer), kClosed.
  void Submit(std::vector<Member> members, AtomicSyncDone done);
  // The same on the calling thread.
  Result<AtomicReceipt> Run(const std::vector<Member>& members);

  // A writer met a frozen page. In a turn.
  Thawed Thaw(const std::shared_ptr<Region>& region, PageIndex page);

  // Ends after the syncs that were submitted; idempotent.
  void Close();

  // Images that writers have made so far.
  [[nodiscard]] uint64_t images() const { return images_.load(std::memory_order_relaxed); }

 private:
  struct Job {
    std::vector<Member> members;
    AtomicSyncDone done;
  };
  // A sync under way, or one that waits for its regions and keeps others from them.
  struct Claim {
    const std::vector<Member>* members;
    uint64_t since_ns;
  };
  // atomic_sync_queue.cc; all but the first two require the lock.
  void Loop();
  Result<AtomicReceipt> RunClaimed(const std::vector<Member>& members);
  // Another thread for a job that waits, or one that has nothing to do.
  void WakeThread();
  // The first job that may begin: its regions are its own from now on.
  bool TakeJob(Job* job);
  void EndClaim(const std::vector<Member>& members);

  Result<AtomicReceipt> RunLocked(const std::vector<Member>& members);
  Result<AtomicReceipt> RunHeld(const std::vector<Member>& members);
  Status Prepare(const std::vector<Member>& members);
  // Until it has committed, in this segment; null: nothing was dirty after all.
  Result<JournalSegment*> Fill(const std::vector<Member>& members,
                               std::span<const JournalStore> names);
  // False: nothing was dirty.
  Result<bool> FillJournal(const std::vector<Member>& members, std::span<const JournalStore> names,
                           Journal& journal);
  Status Apply(const std::vector<Member>& members, JournalSegment* segment,
               AtomicReceipt* receipt);
  void Freeze(const std::vector<Member>& members);
  void Unfreeze(const std::vector<Member>& members);
  Status Collect(const std::vector<Member>& members);
  Status TakePage(const Member& member, uint32_t index, PageIndex page);
  Status TakeImages(const std::vector<Member>& members);
  PageWord ClaimPage(Region& region, PageIndex page);
  void Release(const std::shared_ptr<Region>& region, PageIndex page);
  Status HardenPulled(const std::vector<Member>& members);
  void Settle(const Member& member, bool written);

  Shootdown& shootdown_;
  WaiterList& waiters_;
  SyncEpoch epoch_;
  std::shared_ptr<JournalFolder> journal_;
  std::atomic<JournalFolder*> now_{nullptr};  // the same, for threads that look meanwhile
  ImagePool pool_;
  std::atomic<bool> taking_{false};  // the instant is over and pages may be copied
  std::atomic<uint64_t> images_{0};
  std::mutex fill_mutex_;       // one sync at a time goes into the journal
  Journal* filling_ = nullptr;  // what it fills
  std::mutex mutex_;            // guards what follows
  std::condition_variable wake_;
  std::condition_variable ended_;
  std::deque<Job> jobs_;
  std::vector<Claim> running_;
  size_t idle_ = 0;
  bool closing_ = false;
  std::vector<Thread> threads_;
};

}  // namespace farpage
