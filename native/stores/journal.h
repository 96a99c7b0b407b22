// The redo journal of atomic syncs: a sync is written here as a whole before a store sees it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/page_store.h"
#include "stores/journal_file.h"
#include "stores/journal_format.h"

namespace farpage {

// Stores of one sync, at most.
inline constexpr uint32_t kJournalStoresMax = 256;
// What the file may keep between syncs; one that grew beyond gives the rest back.
inline constexpr uint64_t kJournalKeepBytes = 256u << 20;

// A store as the journal names it: which file, and which part of it the region is.
struct JournalStore {
  std::string path;
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;  // of the region; its last page may be partial

  bool operator==(const JournalStore&) const = default;
};

// Where the bytes of one page stand in the journal.
struct JournalPage {
  uint32_t store = 0;
  PageIndex page = 0;
  uint64_t at = 0;
};

// One sync at a time: Begin, Add for each page, Commit, Apply to each store, Retire. The order on
// the device: stream, barrier, head that says "committed", barrier, stores, barrier, head that says
// "retired", barrier. So whoever finds
//  - a complete stream newer than what was retired: takes the sync for committed, and applies it;
//  - an incomplete one that no head calls committed: has a sync that never happened;
//  - an incomplete one that a head calls committed: has a damaged journal, and touches nothing.
// Applying twice does no harm. Both heads gone are told from a file in which no sync has begun by
// who keeps it (JournalFolder). Thread: one at a time.
class Journal {
 public:
  // Reads what the file holds; one that has `begun` has had a durable head. Fails: kStateVersion
  // (or another page size), kIo (damaged; `damaged_at`, if any, is where).
  static Result<std::unique_ptr<Journal>> Open(std::unique_ptr<JournalFile> file,
                                               uint64_t* damaged_at = nullptr, bool begun = false);

  // A committed sync that was not retired; its stores and pages are below.
  [[nodiscard]] bool committed() const { return state_ == State::kCommitted; }
  [[nodiscard]] uint64_t sequence() const { return sequence_; }
  [[nodiscard]] const std::vector<JournalStore>& stores() const { return stores_; }
  // A head was written and is none any more, not even half of one: what it said of the newest sync
  // is not known.
  [[nodiscard]] bool doubtful() const { return doubtful_; }
  // Sorted by store and page once committed.
  [[nodiscard]] const std::vector<JournalPage>& pages() const { return pages_; }

  // Begins a sync of up to `pages_max` pages and takes room for it. Its number is `sequence`, or
  // the next one of this file if that is higher. Requires: nothing committed. Fails: kNoSpace, kIo,
  // kQuota (kJournalStoresMax); nothing has changed then.
  Status Begin(std::span<const JournalStore> stores, uint64_t pages_max, uint64_t sequence = 0);
  // Where the bytes of the next page go: kPageBytes of them.
  [[nodiscard]] std::byte* Slot() const;
  // Adds the page whose bytes are in the slot, `checksum` being their CRC32C.
  Status Add(uint32_t store, PageIndex page, uint32_t checksum);
  // From here on the sync has happened, whatever becomes of the process or the machine.
  Status Commit();
  // Gives a begun sync up. After an error the stream may be on the device all the same: it is made
  // void as far as the device still takes writes.
  void GiveUp();
  // Nothing is in it, and nothing of what was given up can come back.
  [[nodiscard]] bool IsVoid() const { return state_ == State::kIdle && void_; }
  // Makes void what was given up, if it is not. Requires: nothing committed.
  Status MakeVoid();
  // Called by the next Begin, when there is a durable head and before anything else is written.
  void TellBegun(std::function<Status()> tell) { tell_begun_ = std::move(tell); }

  // Writes the pages of one store in place, and makes them durable. Requires: committed.
  Status Apply(uint32_t store, PageStore& to);
  // Every store has its pages: the sync leaves the journal.
  Status Retire();
  // The bytes of a committed page.
  [[nodiscard]] const std::byte* Bytes(const JournalPage& page) const {
    return mapping_.data() + page.at;
  }
  // What the file may keep between syncs.
  void KeepBytes(uint64_t bytes) { keep_bytes_ = bytes; }

 private:
  enum class State : uint8_t { kIdle, kFilling, kCommitted };
  explicit Journal(std::unique_ptr<JournalFile> file) : file_(std::move(file)) {}
  // What stands at a place of the stream.
  enum class Found : uint8_t { kNothing, kPart, kEnd };
  Status ReadHeads(bool begun, journal_format::Head* newest);
  Status ReadBlank();
  Status ReadStream(const journal_format::Head& newest, uint64_t* damaged_at);
  Result<Found> ReadStores(uint64_t sequence_min, uint64_t* at);
  Result<Found> ReadNext(uint64_t* at);
  Result<Found> ReadChunk(uint64_t* at);
  Result<bool> Load(uint64_t at, uint64_t skip, uint64_t bytes);
  Status WriteStores();
  Status WriteChunk();
  Status WriteHead(bool committed, uint64_t stream_bytes);
  Status Settle(uint64_t stream_bytes);
  void Chain(uint32_t checksum);
  void Forget();

  std::unique_ptr<JournalFile> file_;
  uint64_t keep_bytes_ = kJournalKeepBytes;
  std::function<Status()> tell_begun_;  // empty: nobody asks
  State state_ = State::kIdle;
  uint64_t serial_ = 0;
  uint64_t sequence_ = 0;      // of the newest sync that was begun
  uint64_t stream_bytes_ = 0;  // so far
  bool void_ = true;           // nothing of a sync that was given up can come back
  bool marked_ = false;        // there is a head of this format
  bool doubtful_ = false;
  uint32_t chunks_ = 0;
  uint32_t chain_ = 0;
  std::vector<std::byte> buffer_;  // one chunk
  std::vector<JournalStore> stores_;
  std::vector<JournalPage> pages_;
  uint32_t filled_ = 0;  // pages of the chunk in the buffer
  Mapping mapping_;
};

}  // namespace farpage
