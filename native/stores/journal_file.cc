#include "stores/journal_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace farpage {

Status MakeFolderDurable(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return SystemError("open folder");
  if (::fsync(fd.get()) != 0) return SystemError("fsync folder");
  return {};
}

Result<std::unique_ptr<OsJournalFile>> OsJournalFile::Open(const std::string& path, bool make) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
  Fd fd(::open(path.c_str(), kFlags));
  if (!fd.valid() && errno == ENOENT && make) {
    fd = Fd(::open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0600));
    if (!fd.valid()) return SystemError("open journal");
    if (Status named = MakeFolderDurable(path); !named.ok()) {
      // The next try must not take it for one that stays.
      ::unlink(path.c_str());
      return named.error();
    }
  }
  if (!fd.valid()) return SystemError("open journal");
  return std::unique_ptr<OsJournalFile>(new OsJournalFile(std::move(fd)));
}

Status OsJournalFile::Reserve(uint64_t bytes) {
  struct stat status{};
  if (::fstat(fd_.get(), &status) != 0) return SystemError("fstat journal");
  const auto has = static_cast<uint64_t>(status.st_size);
  if (has >= bytes) return {};
  while (::fallocate(fd_.get(), 0, static_cast<off_t>(has), static_cast<off_t>(bytes - has)) !=
         0) {
    if (errno == EINTR) continue;
    // Without fallocate(2) the writes find out; the sync has changed nothing by then either.
    if (errno == EOPNOTSUPP) return {};
    return SystemError("fallocate journal");
  }
  return {};
}

Status OsJournalFile::Write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      return SystemError("pwrite journal");
    }
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

Status OsJournalFile::Read(uint64_t offset, std::span<std::byte> into, uint64_t* got) {
  *got = 0;
  while (*got < into.size()) {
    const ssize_t read = ::pread(fd_.get(), into.data() + *got, into.size() - *got,
                                 static_cast<off_t>(offset + *got));
    if (read < 0) {
      if (errno == EINTR) continue;
      return SystemError("pread journal");
    }
    if (read == 0) break;
    *got += static_cast<uint64_t>(read);
  }
  return {};
}

void OsJournalFile::StartWriting(uint64_t offset, uint64_t bytes) {
  ::sync_file_range(fd_.get(), static_cast<off64_t>(offset), static_cast<off64_t>(bytes),
                    SYNC_FILE_RANGE_WRITE);
}

Status OsJournalFile::MakeDurable() {
  if (::fdatasync(fd_.get()) == 0) return {};
  return SystemError("fdatasync journal");
}

Status OsJournalFile::Shrink(uint64_t bytes) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) == 0) return {};
  return SystemError("ftruncate journal");
}

Result<Mapping> OsJournalFile::Map(uint64_t bytes) {
  return Mapping::OfFile(fd_.get(), 0, bytes, PROT_READ, MAP_SHARED);
}

}  // namespace farpage
