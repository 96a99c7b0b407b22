#include "stores/kept_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>


namespace farpage {
namespace {

// The first byte at or behind `from` that is data (SEEK_DATA) or a hole (SEEK_HOLE); `end` when
// there is none before it, or the file system cannot tell.
uint64_t Seek(int fd, uint64_t from, uint64_t end, int whence) {
  const off_t found = ::lseek(fd, static_cast<off_t>(from), whence);
  if (found < 0) return whence == SEEK_DATA && errno != ENXIO ? from : end;
  return std::min(static_cast<uint64_t>(found), end);
}

// A file system that tells holes of whole pages and nothing coarser: two pages apart are written
// into an empty file, and the one between them must still be a hole.
Status ProbeHoles(int fd) {
  const std::byte one{1};
  for (const uint64_t page : {uint64_t{0}, uint64_t{2}}) {
    if (::pwrite(fd, &one, 1, static_cast<off_t>(page << kPageShift)) != 1) {
      return SystemError("pwrite");
    }
  }
  const uint64_t end = uint64_t{3} << kPageShift;
  const bool tells = Seek(fd, 0, end, SEEK_HOLE) == kPageBytes &&
                     Seek(fd, kPageBytes, end, SEEK_DATA) == uint64_t{2} << kPageShift;
  if (::ftruncate(fd, 0) != 0) return SystemError("ftruncate");
  if (tells) return {};
  return Error{Code::kUnsupported, 0, "the file system does not tell holes of single pages"};
}

// An empty file of `length_bytes` at `path`, durable but for its name.
Status MakeEmpty(const std::string& path, uint64_t length_bytes) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return SystemError("open");
  if (Status probed = ProbeHoles(fd.get()); !probed.ok()) return probed;
  if (::ftruncate(fd.get(), static_cast<off_t>(length_bytes)) != 0) {
    return SystemError("ftruncate kept file");
  }
  if (::fsync(fd.get()) != 0) return SystemError("fsync");
  return {};
}

// Makes the file, unless it is there, and its entry in the folder durable. It gets its name once it
// is whole: who dies in between leaves nothing that could be taken for it.
Status MakeFile(const std::string& path, uint64_t length_bytes) {
  if (::access(path.c_str(), F_OK) == 0) return {};
  const std::string half = path + ".new";
  Status made = MakeEmpty(half, length_bytes);
  if (made.ok() && ::rename(half.c_str(), path.c_str()) != 0) made = SystemError("rename");
  if (!made.ok()) {
    ::unlink(half.c_str());
    return made;
  }
  const Fd folder(::open(path.substr(0, path.rfind('/') + 1).c_str(),
                         O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.valid() && ::fsync(folder.get()) == 0) return {};
  made = SystemError("fsync folder");
  ::unlink(path.c_str());
  return made;
}

}  // namespace

Result<std::unique_ptr<KeptStore>> KeptStore::Open(const std::string& path, uint64_t length_bytes,
                                                   bool make, std::unique_ptr<PageStore> base) {
  const uint64_t rounded = (length_bytes + kPageBytes - 1) & ~(kPageBytes - 1);
  if (make) {
    if (Status made = MakeFile(path, rounded); !made.ok()) return made.error();
  }
  auto file = FileStore::Open({path, 0, 0, true, PageOrigin::kKept});
  if (!file.ok()) return file.error();
  if (file.value()->length_bytes() != rounded) {
    return Error{Code::kFileChanged, 0, "the kept file has another length than the region"};
  }
  return std::unique_ptr<KeptStore>(new KeptStore(std::move(file).value(), std::move(base)));
}

PagesFrom KeptAt(int fd, PageRun run, bool* kept) {
  const uint64_t from = run.offset_bytes();
  const uint64_t end = from + run.length_bytes();
  const uint64_t data = Seek(fd, from, end, SEEK_DATA);
  // Blocks may be smaller than pages: a page with any data in it is the file's.
  *kept = data < from + kPageBytes && data < end;
  if (!*kept) return {PageOrigin::kFill, (data - from) >> kPageShift};
  const uint64_t hole = Seek(fd, data, end, SEEK_HOLE);
  return {PageOrigin::kKept, (hole - from + kPageBytes - 1) >> kPageShift};
}

PagesFrom KeptStore::OriginOf(PageRun run) const {
  bool kept = false;
  PagesFrom from = KeptAt(run, &kept);
  if (kept) return from;
  const PageStore* base = below();
  if (base == nullptr) return {PageOrigin::kKept, from.pages};  // Read says that they are lost
  const PagesFrom under = base->OriginOf({run.first, from.pages});
  return {under.origin, std::min(under.pages, from.pages)};
}

uint64_t KeptStore::CachedPages(PageRun run) const {
  bool kept = false;
  const PagesFrom from = KeptAt(run, &kept);
  if (kept) return file_->CachedPages({run.first, from.pages});
  const PageStore* base = below();
  return base == nullptr ? 0 : base->CachedPages({run.first, from.pages});
}

void KeptStore::WillWrite(PageRun run) { file_->WillWrite(run); }

void KeptStore::WillRead(PageRun run) { file_->WillRead(run); }

void KeptStore::StartRead(PageRun run, std::byte* into, ReadDone done) {
  if (PageStore* base = below(); base != nullptr) {
    base->StartRead(run, into, std::move(done));
  } else {
    done(Error{Code::kPageLost, 0, "its source was detached"});
  }
}

void KeptStore::StartBackgroundRead(PageRun run, std::byte* into, ReadDone done) {
  if (PageStore* base = below(); base != nullptr) {
    base->StartBackgroundRead(run, into, std::move(done));
  } else {
    done(Error{Code::kPageLost, 0, "its source was detached"});
  }
}

bool KeptStore::keeps_what_it_pulls() const {
  const PageStore* base = below();
  return base != nullptr && base->OriginOf({0, 1}).origin == PageOrigin::kRemote;
}

void KeptStore::EndReads() {
  if (base_ != nullptr) base_->EndReads();
}

Status KeptStore::Read(PageRun run, std::byte* into) {
  while (run.count != 0) {
    bool kept = false;
    const PagesFrom from = KeptAt(run, &kept);
    const PageRun part{run.first, std::min(from.pages, run.count)};
    PageStore* const base = below();
    if (!kept && base == nullptr) return Error{Code::kPageLost, 0, "a hole of a detached region"};
    if (Status read = kept ? file_->Read(part, into) : base->Read(part, into); !read.ok()) {
      return read;
    }
    if (kept) CountRead(part);
    into += part.length_bytes();
    run = {part.end(), run.count - part.count};
  }
  return {};
}

uint64_t KeptStore::KeptPages(PageRun run) const {
  uint64_t pages = 0;
  while (run.count != 0) {
    bool kept = false;
    const PagesFrom from = KeptAt(run, &kept);
    const uint64_t part = std::min(from.pages, run.count);
    if (kept) pages += part;
    run = {run.first + part, run.count - part};
  }
  return pages;
}

void KeptStore::DetachSource() {
  detached_.store(true, std::memory_order_release);
  EndReads();
}

}  // namespace farpage
