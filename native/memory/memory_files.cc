#include "memory/memory_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "memory/memory_files_header.h"

namespace farpage {
namespace {

// The unit of st_blocks, whatever the file system's own is (stat(3type)).
constexpr uint64_t kBlockBytes = 512;
uint64_t WordBytes(uint64_t size_bytes) {
  const uint64_t pages = (size_bytes + kPageBytes - 1) >> kPageShift;
  return (pages * sizeof(PageWord) + kPageBytes - 1) & ~(kPageBytes - 1);
}

}  // namespace

Error MemoryFiles::FullOr(const char* what) {
  if (errno == ENOSPC) return {Code::kNoSpace, errno, "the memory directory is full"};
  return SystemError(what);
}

Result<Fd> MemoryFiles::OpenFile(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return FullOr("open memory file");
  return fd;
}

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
  const uint64_t was = header()->life.load();
  return was == options_.life || was == options_.next_life;
}

// Everything goes but the descriptors.
Status MemoryFiles::DiscardAll() {
  report_ = {};
  report_.outcome = Adoption::kDiscarded;
  aside_ = 0;
  const auto all = static_cast<off_t>(table_.size());
  // Who dies before all is emptied must not find words again that say nothing.
  header()->checksum = 0;
  if (::ftruncate(memory_fd_.get(), 0) != 0 ||
      ::fallocate(table_fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kHeaderBytes,
                  all) != 0) {
    return SystemError("empty memory files");
  }
  WriteHeader();
  return {};
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
  BeginLife({report_.outcome, false, aside_});
  to.writing.store(0);
  to.checksum = to.Sum();
}

void MemoryFiles::BeginLife(const Found& found) {
  header()->found.store(found.Word());
  header()->life.store(options_.next_life);
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

void MemoryFiles::BeginWrite() { header()->writing.store(1, std::memory_order_seq_cst); }

void MemoryFiles::EndWrite(const StoreIdentity& store) {
  header()->store = store;
  header()->writing.store(0, std::memory_order_seq_cst);
}

}  // namespace farpage
