#include "memory/memory_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/crc32c.h"

namespace farpage {
namespace {

constexpr std::array<char, 8> kMagic = {'F', 'A', 'R', 'P', 'A', 'G', 'E', 'M'};
constexpr uint32_t kFormat = 1;
// A whole page of any system.
constexpr uint64_t kHeaderBytes = 65536;
// The unit of st_blocks, whatever the file system's own is (stat(3type)).
constexpr uint64_t kBlockBytes = 512;
// Words that are reserved together.
constexpr uint64_t kChunkBytes = 4096;
constexpr uint64_t kChunkWords = kChunkBytes / sizeof(PageWord);

Error FullOr(const char* what) {
  if (errno == ENOSPC) return {Code::kNoSpace, errno, "the memory directory is full"};
  return SystemError(what);
}

Result<Fd> OpenFile(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return FullOr("open memory file");
  return fd;
}

uint64_t WordBytes(uint64_t size_bytes) {
  const uint64_t pages = (size_bytes + kPageBytes - 1) >> kPageShift;
  return (pages * sizeof(PageWord) + kPageBytes - 1) & ~(kPageBytes - 1);
}

}  // namespace

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
  uint64_t life;

  // To this region in this boot, and it is whole.
  [[nodiscard]] bool BelongsTo(const Options& options) const {
    return magic == kMagic && format == kFormat && page_bytes == kPageBytes && checksum == Sum() &&
           options.id == id.data() && options.boot_id == boot_id.data();
  }
  [[nodiscard]] uint32_t Sum() const {
    return Crc32c(0, {reinterpret_cast<const std::byte*>(this), offsetof(Header, checksum)});
  }
};

Result<std::unique_ptr<MemoryFiles>> MemoryFiles::Open(const Options& options) {
  static_assert(sizeof(Header) <= kHeaderBytes);
  const std::string base = options.directory + "/" + options.id;
  auto table = OpenFile(base + ".table");
  if (!table.ok()) return table.error();
  auto resized = Resize(options, table.value().get());
  if (!resized.ok()) return resized.error();
  auto memory = OpenFile(base + ".memory");
  if (!memory.ok()) return memory.error();
  const uint64_t words = WordBytes(options.size_bytes);
  struct stat status{};
  struct stat of_memory{};
  if (::fstat(table.value().get(), &status) != 0 ||
      ::fstat(memory.value().get(), &of_memory) != 0) {
    return SystemError("fstat");
  }
  // Nobody knows what the pages are whose words were cut off. Cut to nothing first: who dies
  // before all is emptied must not find words again that say nothing.
  const auto found = static_cast<uint64_t>(status.st_size);
  const bool cut = found != 0 && found < kHeaderBytes + words;
  if (cut && ::ftruncate(table.value().get(), 0) != 0) return SystemError("ftruncate");
  if (::ftruncate(table.value().get(), static_cast<off_t>(kHeaderBytes + words)) != 0 ||
      ::fallocate(table.value().get(), FALLOC_FL_KEEP_SIZE, 0, kHeaderBytes) != 0) {
    return FullOr("fallocate header");
  }
  auto header = Mapping::Shared(table.value().get(), 0, kHeaderBytes);
  if (!header.ok()) return header.error();
  auto mapped = Mapping::OfFile(table.value().get(), kHeaderBytes, words, PROT_READ | PROT_WRITE,
                                MAP_SHARED);
  if (!mapped.ok()) return mapped.error();
  std::unique_ptr<MemoryFiles> files(
      new MemoryFiles(options, std::move(memory).value(), std::move(table).value(),
                      std::move(header).value(), std::move(mapped).value()));
  if (resized.value().outcome != Adoption::kMade) {
    files->report_ = std::move(resized).value();
    files->settled_ = true;
  } else if (found == 0 && of_memory.st_size == 0) {
    files->report_.outcome = Adoption::kMade;
    files->WriteHeader();
  } else if (cut || !files->Belongs()) {
    if (Status discarded = files->DiscardAll(); !discarded.ok()) return discarded.error();
  } else if (!files->SameLife()) {
    files->report_.outcome = Adoption::kStale;
  } else {
    files->report_.outcome = files->SameStore() ? Adoption::kAdopted : Adoption::kConflict;
  }
  return files;
}

FoundPages MemoryFiles::Look(const Options& options) {
  FoundPages found;
  const std::string path = options.directory + "/" + options.id + ".table";
  const Fd table(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  Header head{};
  struct stat status{};
  if (!table.valid() || ::fstat(table.get(), &status) != 0 ||
      ::pread(table.get(), static_cast<void*>(&head), sizeof(head), 0) != sizeof(head) ||
      !head.BelongsTo(options)) {
    return found;
  }
  const uint64_t end = kHeaderBytes + WordBytes(head.size_bytes);
  if (static_cast<uint64_t>(status.st_size) < end) return found;
  std::array<PageWord, kChunkWords> words;
  auto at = static_cast<off_t>(kHeaderBytes);
  while ((at = ::lseek(table.get(), at, SEEK_DATA)) >= 0 && static_cast<uint64_t>(at) < end) {
    const ssize_t got = ::pread(table.get(), words.data(), sizeof(words), at);
    if (got <= 0) return found;
    for (const PageWord word : std::span(words).first(got / sizeof(PageWord))) {
      const PageState state = StateOf(word);
      if (state == PageState::kPresent || state == PageState::kCopying) found.present++;
      if ((word & kUnsafe) != 0) found.dirty++;
    }
    at += got;
  }
  return found;
}

Result<AdoptionReport> MemoryFiles::Resize(const Options& options, int table_fd) {
  Header found{};
  const ssize_t got = ::pread(table_fd, static_cast<void*>(&found), sizeof(found), 0);
  if (got < 0) return SystemError("pread header");
  if (got < static_cast<ssize_t>(sizeof(found)) || found.magic != kMagic) return AdoptionReport{};
  if (found.format != kFormat) {
    return Error{Code::kStateVersion, 0, "memory of another version of Farpage; start that one"};
  }
  const uint64_t was = found.size_bytes;
  if (!found.BelongsTo(options) || was == options.size_bytes) return AdoptionReport{};
  Options before = options;
  before.size_bytes = was;
  auto old = Open(before);
  if (!old.ok()) return old.error();
  MemoryFiles& files = *old.value();
  if (files.report_.outcome == Adoption::kAdopted) files.report_.outcome = Adoption::kConflict;
  if (Status adopted = files.Adopt(false); !adopted.ok()) return adopted.error();
  // A header never speaks of more words than there are, or they would count as cut off.
  const uint64_t words = std::max(WordBytes(was), WordBytes(options.size_bytes));
  if (::ftruncate(table_fd, static_cast<off_t>(kHeaderBytes + words)) != 0) {
    return FullOr("ftruncate table");
  }
  files.options_.size_bytes = options.size_bytes;
  files.WriteHeader();
  return std::move(files.report_);
}

bool MemoryFiles::Belongs() const {
  return header()->BelongsTo(options_) && header()->size_bytes == options_.size_bytes;
}

bool MemoryFiles::SameStore() const {
  const StoreIdentity& was = header()->store;
  const StoreIdentity& is = options_.store;
  const bool same_file =
      was.device == is.device && was.inode == is.inode && was.size_bytes == is.size_bytes;
  return same_file && (was.changed_ns == is.changed_ns || header()->writing.load() != 0);
}

bool MemoryFiles::SameLife() const {
  const uint64_t was = header()->life;
  return was == options_.life || was == options_.next_life;
}

// Everything goes but the descriptors.
Status MemoryFiles::DiscardAll() {
  report_ = {};
  report_.outcome = Adoption::kDiscarded;
  const auto all = static_cast<off_t>(table_.size());
  if (::ftruncate(memory_fd_.get(), 0) != 0 ||
      ::fallocate(table_fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kHeaderBytes,
                  all) != 0) {
    return SystemError("empty memory files");
  }
  WriteHeader();
  return {};
}

// Pages have words that say so, and their bytes were cut off.
Result<bool> MemoryFiles::IsCut() const {
  struct stat status{};
  if (::fstat(memory_fd_.get(), &status) != 0) return SystemError("fstat");
  const bool is_short = static_cast<uint64_t>(status.st_size) < options_.size_bytes;
  return is_short && report_.clean_pages + report_.dirty_pages != 0;
}

void MemoryFiles::WriteHeader() {
  Header& to = *header();
  // Not ours until the checksum says so: a death in between leaves files that are discarded.
  to.checksum = 0;
  to.magic = kMagic;
  to.format = kFormat;
  to.page_bytes = static_cast<uint32_t>(kPageBytes);
  to.size_bytes = options_.size_bytes;
  to.id = {};
  to.boot_id = {};
  std::memcpy(to.id.data(), options_.id.data(), std::min(options_.id.size(), to.id.size() - 1));
  std::memcpy(to.boot_id.data(), options_.boot_id.data(),
              std::min(options_.boot_id.size(), to.boot_id.size() - 1));
  to.store = options_.store;
  to.life = options_.next_life;
  to.writing.store(0);
  to.checksum = to.Sum();
}

PageIndex MemoryFiles::NextTouched(PageIndex from) const {
  const uint64_t pages = (options_.size_bytes + kPageBytes - 1) >> kPageShift;
  if (from >= pages) return pages;
  const uint64_t at = kHeaderBytes + from * sizeof(PageWord);
  const off_t found = ::lseek(table_fd_.get(), static_cast<off_t>(at), SEEK_DATA);
  if (found < 0) return errno == ENXIO ? pages : from;
  return std::min(pages, (static_cast<uint64_t>(found) - kHeaderBytes) / sizeof(PageWord));
}

Status MemoryFiles::ReserveWords(PageIndex page) const {
  const uint64_t at = kHeaderBytes + page / kChunkWords * kChunkBytes;
  while (::fallocate(table_fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at), kChunkBytes) !=
         0) {
    if (errno != EINTR) return FullOr("fallocate page table");
  }
  return {};
}

uint64_t MemoryFiles::word_bytes() const {
  struct stat found{};
  if (::fstat(table_fd_.get(), &found) != 0) return 0;
  const uint64_t bytes = static_cast<uint64_t>(found.st_blocks) * kBlockBytes;
  return bytes - std::min(bytes, kHeaderBytes);
}

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

// The memory file gets a name of its own beside the region, and the region an empty one.
Status MemoryFiles::SetAside() {
  const std::string base = options_.directory + "/" + options_.id;
  const auto name = [&](uint32_t n) { return base + ".conflict-" + std::to_string(n); };
  uint32_t n = 1;
  while (n <= kConflictFilesMax && ::access(name(n).c_str(), F_OK) == 0) n++;
  // Somebody died here when the bytes had been set aside: there is nothing in the new file yet.
  const bool empty = ::lseek(memory_fd_.get(), 0, SEEK_DATA) < 0 && errno == ENXIO;
  if (empty && n > 1) {
    report_.conflict_file = name(n - 1);
    return {};
  }
  if (n > kConflictFilesMax) {
    return Error{Code::kQuota, 0, "too many conflicts of this region are kept; remove some"};
  }
  if (::rename((base + ".memory").c_str(), name(n).c_str()) != 0) return FullOr("rename conflict");
  auto fresh = OpenFile(base + ".memory");
  if (!fresh.ok()) return fresh.error();
  memory_fd_ = std::move(fresh).value();
  report_.conflict_file = name(n);
  return {};
}

Status MemoryFiles::Adopt(bool writable) {
  if (settled_ || report_.outcome == Adoption::kMade || report_.outcome == Adoption::kDiscarded) {
    return {};
  }
  const bool conflict = Disowned();
  const uint64_t pages = (options_.size_bytes + kPageBytes - 1) >> kPageShift;
  const auto each_word = [&](auto visit) {
    for (PageIndex page = NextTouched(0); page < pages; page = NextTouched(page)) {
      const PageIndex end = std::min(pages, (page / kChunkWords + 1) * kChunkWords);
      for (; page < end; page++) visit(page, words()[page]);
    }
  };
  const auto only_here = [](PageWord word) {
    const PageState state = StateOf(word);
    return (word & kUnsafe) != 0 && state != PageState::kLost && state != PageState::kFilling;
  };
  each_word([&](PageIndex page, std::atomic<PageWord>& word) {
    const PageWord seen = word.load(std::memory_order_relaxed);
    if (conflict && only_here(seen)) {
      NoteConflict(page);
    } else {
      word.store(Repaired(page, seen, writable), std::memory_order_relaxed);
    }
  });
  if (!conflict) {
    const auto cut = IsCut();
    if (!cut.ok()) return cut.error();
    if (cut.value()) return DiscardAll();
    header()->life = options_.next_life;
    return {};
  }
  if (report_.conflict_pages != 0) {
    // Set aside before the words change: who dies in between meets the same conflict again.
    if (Status aside = SetAside(); !aside.ok()) return aside;
    each_word([&](PageIndex, std::atomic<PageWord>& word) {
      const PageWord seen = word.load(std::memory_order_relaxed);
      if (!only_here(seen)) return;
      word.store((seen & kHistory) | static_cast<PageWord>(PageState::kLost) | kDirty,
                 std::memory_order_relaxed);
    });
  }
  EndWrite(options_.store);
  // Last: who dies before finds the same memory as old as it was.
  header()->life = options_.next_life;
  return {};
}

void MemoryFiles::BeginWrite() { header()->writing.store(1, std::memory_order_seq_cst); }

void MemoryFiles::EndWrite(const StoreIdentity& store) {
  header()->store = store;
  header()->writing.store(0, std::memory_order_seq_cst);
}

}  // namespace farpage
