// The two files of a region in the memory directory: its memory and its page table, which outlive
// the process.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "memory/page_state.h"
#include "memory/page_store.h"
#include "os/fd.h"
#include "os/mapping.h"

namespace farpage {

// Runs of pages in conflict that are named one by one, at most.
inline constexpr size_t kConflictRunsMax = 64;
// Conflicts of one region that are kept beside it, at most.
inline constexpr uint32_t kConflictFilesMax = 16;

enum class Adoption : uint8_t {
  kMade,       // there was nothing
  kAdopted,    // every page is where it was
  kDiscarded,  // it belonged to another boot or region, or some of it was cut off
  kConflict,   // store or size are others: clean pages were dropped, dirty ones set aside
  kStale,      // the region was written without it since: the same
};

// What was found when the files were opened.
struct AdoptionReport {
  Adoption outcome = Adoption::kMade;
  uint64_t clean_pages = 0;     // kept, and the store has them too
  uint64_t dirty_pages = 0;     // kept, and only here
  uint64_t repaired_pages = 0;  // that were half-done
  uint64_t dropped_pages = 0;   // clean, of a store that changed
  uint64_t conflict_pages = 0;  // dirty, of a store that changed
  std::vector<PageRun> conflicts;  // the first kConflictRunsMax runs of these
  std::string conflict_file;       // where their bytes are, each at its offset
};

// What lies in memory that nobody has opened yet; dirty pages may also be lost.
struct FoundPages {
  uint64_t present = 0;
  uint64_t dirty = 0;
};

// DIRECTORY/ID.memory holds the pages, DIRECTORY/ID.table a header page and then the page words;
// both are sparse. The header says what they belong to. Thread: Open and Adopt before anybody else
// knows the region; the rest as it says.
class MemoryFiles {
 public:
  struct Options {
    std::string directory;   // on a tmpfs: the caller has looked
    std::string id;          // of the region; names the files
    std::string boot_id;     // of the machine's start, /proc/sys/kernel/random/boot_id
    uint64_t size_bytes = 0;
    StoreIdentity store;
    // The region's life that this memory must be of, and the one it is of from now on. Who died
    // between taking that and telling its caller has left the latter, and served no write: then
    // what it found is found again, a loss and where a conflict is among it.
    uint64_t life = 0;
    uint64_t next_life = 0;
    // Frames that were charged for it before anybody opened it (Pager::ChargeFound).
    uint64_t charged_pages = 0;
  };

  // Opens the files, or makes them; those of another boot or region, or that were cut, are emptied.
  // Those of a region that had another size are a conflict, as those of another store: dirty pages
  // are set aside; so are those of another life of the region, which was written elsewhere since.
  // Fails: kStateVersion (another version of Farpage may have dirty pages there), kQuota (see
  // kConflictFilesMax), kNoSpace (the tmpfs has no room for a header), kIo.
  static Result<std::unique_ptr<MemoryFiles>> Open(const Options& options);

  // What Adopt will find, by the words alone, in the same time: nothing of a region of another
  // boot, or of a table that was cut. Changes nothing. Thread: any; nobody has the files open.
  static FoundPages Look(const Options& options);

  // Repairs the words that are there and says what was found: half-done fills and evictions
  // become absent, what was on its way to the store is dirty again, nobody waits. In time
  // proportional to the pages that were ever touched (SEEK_DATA, lseek(2)). Where the store is
  // another one, clean pages are dropped and dirty ones LOST, their bytes set aside.
  Status Adopt(bool writable);

  [[nodiscard]] const AdoptionReport& report() const { return report_; }
  [[nodiscard]] std::atomic<PageWord>* words() const {
    return reinterpret_cast<std::atomic<PageWord>*>(table_.data());
  }
  // The descriptor of the memory file, once: its pages are freed when the region's memory ends,
  // whoever still holds the page table. Requires: Adopt.
  Fd TakeMemory() { return std::move(memory_fd_); }
  // The first page >= `from` whose table page has been stored to, or `pages`.
  [[nodiscard]] PageIndex NextTouched(PageIndex from) const;

  // Reserves the table page of a word before it is stored to (fallocate(2)): a full tmpfs is
  // kNoSpace and not a SIGBUS. Thread: any.
  Status ReserveWords(PageIndex page) const;

  [[nodiscard]] uint64_t charged_pages() const { return options_.charged_pages; }

  // What the words take: memory of a file. Thread: any.
  [[nodiscard]] uint64_t word_bytes() const;

  // The store is about to be written by ourselves, and has been: its new time is no conflict. A
  // process that dies in between leaves the mark, and the next start takes the store for its own
  // when device, inode and size still match. Thread: one at a time.
  void BeginWrite();
  void EndWrite(const StoreIdentity& store);

 private:
  struct Header;
  struct Found;
  MemoryFiles(const Options& options, Fd memory, Fd table, Mapping header, Mapping words)
      : options_(options),
        memory_fd_(std::move(memory)),
        table_fd_(std::move(table)),
        header_(std::move(header)),
        table_(std::move(words)) {}
  [[nodiscard]] Header* header() const { return reinterpret_cast<Header*>(header_.data()); }
  static Error FullOr(const char* what);
  static Result<Fd> OpenFile(const std::string& path);
  // Settles what a region of another size has left, if it is that; then all is as after Adopt.
  static Result<AdoptionReport> Resize(const Options& options, int table_fd);
  [[nodiscard]] bool Belongs() const;
  [[nodiscard]] bool SameStore() const;
  [[nodiscard]] bool SameLife() const;
  // Clean pages go, and dirty ones are not the region's any more.
  [[nodiscard]] bool Disowned() const {
    return report_.outcome == Adoption::kConflict || report_.outcome == Adoption::kStale;
  }
  Status DiscardAll();
  [[nodiscard]] bool HasNoMemory() const;
  [[nodiscard]] Result<bool> IsCut() const;
  void WriteHeader();
  // What is in the files is of the next life from now on, which began with this.
  void BeginLife(const Found& found);
  [[nodiscard]] std::string ConflictFile(uint32_t number) const;
  Status SetAside();
  template <typename Visit>
  void EachWord(Visit visit) const;
  PageWord Repaired(PageIndex page, PageWord word, bool writable);
  void NoteConflict(PageIndex page);
  void Punch(PageIndex page) const;

  Options options_;
  Fd memory_fd_;
  Fd table_fd_;
  Mapping header_;
  Mapping table_;
  AdoptionReport report_;
  uint32_t aside_ = 0;    // the number of the conflict file; 0: none
  bool settled_ = false;  // Adopt has nothing to do
};

}  // namespace farpage
