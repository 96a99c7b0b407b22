#include "system_calls.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "call_record.h"

// The names behind which the linker keeps the kernel's own.
extern "C" {
int __real_open64(const char* path, int flags, ...);
ssize_t __real_pread64(int fd, void* into, size_t bytes, off64_t offset);
ssize_t __real_pwrite64(int fd, const void* from, size_t bytes, off64_t offset);
ssize_t __real_pwritev64v2(int fd, const iovec* from, int count, off64_t offset, int flags);
int __real_ftruncate64(int fd, off64_t length);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_fallocate64(int fd, int mode, off64_t offset, off64_t length);
int __real_madvise(void* at, size_t length, int advice);
int __real_link(const char* from, const char* to);
int __real_unlink(const char* path);
int __real_rename(const char* from, const char* to);
}

namespace farpage::test {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kSector = 512;

struct Fault {
  std::string folder;
  uint32_t kinds = 0;
  uint64_t nth = 0;
  int error = 0;
  std::atomic<uint64_t> calls{0};
};

std::atomic<bool> faulting{false};
std::atomic<bool> recording{false};
Fault fault;                             // read by any thread while `faulting`
CallRecord::State* record = nullptr;     // the same while `recording`

bool IsBelow(const std::string& path, const std::string& folder) {
  return path.compare(0, folder.size(), folder) == 0;
}

std::string PathOf(int fd) {
  std::array<char, PATH_MAX> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = ::readlink(link.c_str(), path.data(), path.size() - 1);
  return length < 0 ? std::string() : std::string(path.data(), static_cast<size_t>(length));
}

std::string Whole(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::array<char, PATH_MAX> real{};
  const std::string folder = path.substr(0, slash == std::string::npos ? 0 : slash + 1);
  if (::realpath(folder.empty() ? "." : folder.c_str(), real.data()) == nullptr) return path;
  return std::string(real.data()) + "/" + path.substr(slash + 1);
}

// As PathOf tells it.
std::string FolderOf(const std::string& folder) {
  std::array<char, PATH_MAX> real{};
  if (::realpath(folder.c_str(), real.data()) == nullptr) std::abort();
  return real.data();
}

// True: this call fails, errno says how.
bool Fails(CallKind kind, const std::string& path) {
  if (!faulting.load() || (fault.kinds & kind) == 0) return false;
  if (!path.empty() && !IsBelow(path, fault.folder)) return false;
  if (fault.calls.fetch_add(1) + 1 != fault.nth) return false;
  if (fault.error == kKillInstead) ::raise(SIGKILL);
  errno = fault.error;
  return true;
}
bool Fails(CallKind kind, int fd) {
  return faulting.load() && (fault.kinds & kind) != 0 && Fails(kind, PathOf(fd));
}

}  // namespace

CallRecord::State* RecordOf(int fd) {
  return recording.load() && IsBelow(PathOf(fd), record->folder) ? record : nullptr;
}

void RingStep(int fd) {
  if (fd < 0) {
    (void)Fails(kCallRing, std::string());
  } else {
    (void)Fails(kCallRing, fd);
  }
}

namespace {

using Call = CallRecord::Call;

uint64_t InodeOf(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}
uint64_t InodeOf(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

bool Records(const std::string& path) {
  return recording.load() && IsBelow(path, record->folder);
}

void RecordName(Call::What what, const std::string& path, uint64_t inode,
                const std::string& from = {}) {
  if (!Records(path)) return;
  const size_t slash = path.rfind('/');
  record->Add({what, inode, InodeOf(path.substr(0, slash)), path.substr(slash + 1),
               from.substr(from.rfind('/') + 1), 0, {}, 0});
}

int Sync(int fd, int (*real)(int)) {
  const bool records = recording.load() && Records(PathOf(fd));
  const size_t covers = records ? record->Size() : 0;
  const bool fails = Fails(kCallSync, fd);
  const int number = errno;
  // Nobody's power is lost but in PowerLoss: the device need not be waited for, unless pages are to
  // leave the page cache.
  const bool skipped = records ? !record->real_syncs
                               : faulting.load() && IsBelow(PathOf(fd), fault.folder);
  const int outcome = fails ? -1 : skipped ? 0 : real(fd);
  if (records) {
    const auto what = outcome == 0 ? Call::What::kSync : Call::What::kFailedSync;
    record->Add({what, InodeOf(fd), 0, {}, {}, 0, {}, covers});
  }
  if (fails) errno = number;
  return outcome;
}

// A file as it may be after a power loss: blocks that are not here are holes.
struct File {
  uint64_t size = 0;
  std::map<uint64_t, std::array<std::byte, kBlock>> blocks;

  void Write(uint64_t at, const std::byte* bytes, uint64_t length) {
    for (uint64_t done = 0; done < length;) {
      const uint64_t block = (at + done) / kBlock;
      const uint64_t within = (at + done) % kBlock;
      const uint64_t part = std::min(length - done, kBlock - within);
      std::memcpy(blocks[block].data() + within, bytes + done, part);
      done += part;
    }
    size = std::max(size, at + length);
  }
  void Truncate(uint64_t length) {
    size = length;
    blocks.erase(blocks.lower_bound((length + kBlock - 1) / kBlock), blocks.end());
    const auto last = blocks.find(length / kBlock);
    if (last == blocks.end()) return;
    std::memset(last->second.data() + length % kBlock, 0, kBlock - length % kBlock);
  }
};

enum class Fate : uint8_t { kThere, kMissing, kTorn };

void ApplyTorn(File& file, const Call& call, std::mt19937_64& random) {
  const uint64_t end = call.at + call.bytes.size();
  uint64_t reached = file.size;
  for (uint64_t at = call.at; at < end;) {
    const bool hole = !file.blocks.contains(at / kBlock);
    const uint64_t unit = hole ? kBlock : kSector;
    const uint64_t part = std::min(end - at, unit - at % unit);
    if (random() % 2 == 0) {
      file.Write(at, call.bytes.data() + (at - call.at), part);
      reached = std::max(reached, at + part);
    }
    at += part;
  }
  // The new length may have got there before the bytes, or not.
  if (random() % 2 == 0) file.size = std::max(file.size, end);
}

// `put` writes `from`, or what is recorded of it: the kernel gets those bytes, whoever writes to
// `from` meanwhile, from where O_DIRECT takes them.
template <typename Put>
ssize_t Write(int fd, const void* from, size_t bytes, off64_t offset, Put put) {
  if (Fails(kCallWrite, fd)) return -1;
  if (!recording.load() || !Records(PathOf(fd))) return put(from);
  if (bytes > SSIZE_MAX - kBlock) std::abort();
  std::vector<std::byte> room(bytes + kBlock);
  const auto at = reinterpret_cast<uintptr_t>(room.data());
  std::byte* copy = room.data() + ((at + kBlock - 1) & ~(kBlock - 1)) - at;
  std::memcpy(copy, from, bytes);
  const ssize_t done = put(copy);
  if (done <= 0) return done;
  record->Add({Call::What::kWrite, InodeOf(fd), 0, {}, {}, static_cast<uint64_t>(offset),
               {copy, copy + done}, 0});
  return done;
}

}  // namespace

CallFault::CallFault(const std::string& folder, uint32_t kinds, uint64_t nth, int error)
    : nth_(nth) {
  fault.folder = FolderOf(folder);
  fault.kinds = kinds;
  fault.nth = nth;
  fault.error = error;
  fault.calls = 0;
  faulting = true;
}

CallFault::~CallFault() { faulting = false; }

uint64_t CallFault::calls() const { return fault.calls.load(); }

CallRecord::CallRecord(const std::string& folder, bool real_syncs)
    : state_(std::make_unique<State>()) {
  state_->folder = FolderOf(folder);
  state_->real_syncs = real_syncs;
  record = state_.get();
  recording = true;
}

CallRecord::~CallRecord() { recording = false; }

size_t CallRecord::size() const { return state_->Size(); }
size_t CallRecord::ring_writes() const { return state_->ring_writes; }

void CallRecord::PowerLoss(size_t cut, std::mt19937_64& random, const std::string& into) const {
  const std::lock_guard lock(state_->mutex);
  const auto& calls = state_->calls;
  // Which calls a barrier has made safe; in the order of the barriers, so that a failed one takes
  // what was before it away from those that come later.
  std::vector<bool> safe(cut);
  std::vector<bool> forgotten(cut);
  for (size_t n = 0; n < cut; n++) {
    const Call& sync = calls[n];
    const bool good = sync.what == Call::What::kSync;
    if (!good && sync.what != Call::What::kFailedSync) continue;
    for (size_t before = 0; before < sync.covers; before++) {
      const Call& call = calls[before];
      const bool data = call.what == Call::What::kWrite || call.what == Call::What::kTruncate;
      if ((data ? call.file : call.folder) != sync.file) continue;
      if (call.ended_by > sync.covers) continue;  // it was under way
      if (good && !forgotten[before]) safe[before] = true;
      if (!good && !safe[before]) forgotten[before] = true;
    }
  }
  std::map<uint64_t, File> files;
  std::map<std::string, uint64_t> names;
  bool naming = true;  // until the first name that did not get there
  for (size_t n = 0; n < cut; n++) {
    const Call& call = calls[n];
    const Fate fate = safe[n] ? Fate::kThere : static_cast<Fate>(random() % 3);
    switch (call.what) {
      case Call::What::kWrite:
        if (fate == Fate::kTorn) ApplyTorn(files[call.file], call, random);
        if (fate != Fate::kThere) break;
        files[call.file].Write(call.at, call.bytes.data(), call.bytes.size());
        break;
      case Call::What::kTruncate:
        if (fate != Fate::kMissing) files[call.file].Truncate(call.at);
        break;
      case Call::What::kCreate:
      case Call::What::kLink:
      case Call::What::kRename:
      case Call::What::kUnlink:
        if (!safe[n] && (!naming || fate == Fate::kMissing)) {
          naming = false;
        } else if (call.what == Call::What::kUnlink) {
          names.erase(call.name);
        } else {
          names[call.name] = call.file;
          if (call.what == Call::What::kRename) names.erase(call.from);
        }
        break;
      case Call::What::kSync:
      case Call::What::kFailedSync: break;
    }
  }
  for (const auto& [name, inode] : names) {
    const int fd = __real_open64((into + "/" + name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) std::abort();
    const File& file = files[inode];
    for (const auto& [block, bytes] : file.blocks) {
      if (__real_pwrite64(fd, bytes.data(), kBlock, static_cast<off64_t>(block * kBlock)) < 0) {
        std::abort();
      }
    }
    if (__real_ftruncate64(fd, static_cast<off64_t>(file.size)) != 0) std::abort();
    ::close(fd);
  }
}

}  // namespace farpage::test

using namespace farpage::test;

extern "C" {

int __wrap_open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  if (!faulting.load() && !recording.load()) return __real_open64(path, flags, mode);
  const std::string whole = Whole(path);
  if (Fails(kCallOpen, whole)) return -1;
  const bool fresh = (flags & O_CREAT) != 0 && InodeOf(whole) == 0;
  const int fd = __real_open64(path, flags, mode);
  if (fd >= 0 && fresh) RecordName(Call::What::kCreate, whole, InodeOf(fd));
  return fd;
}

ssize_t __wrap_pread64(int fd, void* into, size_t bytes, off64_t offset) {
  return Fails(kCallRead, fd) ? -1 : __real_pread64(fd, into, bytes, offset);
}

ssize_t __wrap_pwrite64(int fd, const void* from, size_t bytes, off64_t offset) {
  return Write(fd, from, bytes, offset, [&](const void* what) {
    return __real_pwrite64(fd, what, bytes, offset);
  });
}

ssize_t __wrap_pwritev64v2(int fd, const iovec* from, int count, off64_t offset, int flags) {
  if (count != 1) std::abort();  // nobody gathers here
  return Write(fd, from->iov_base, from->iov_len, offset, [&](const void* what) {
    const iovec piece{const_cast<void*>(what), from->iov_len};
    return __real_pwritev64v2(fd, &piece, 1, offset, flags);
  });
}

int __wrap_ftruncate64(int fd, off64_t length) {
  if (Fails(kCallTruncate, fd)) return -1;
  const int outcome = __real_ftruncate64(fd, length);
  if (outcome == 0 && recording.load() && Records(PathOf(fd))) {
    const auto end = static_cast<uint64_t>(length);
    record->Add({Call::What::kTruncate, InodeOf(fd), 0, {}, {}, end, {}, 0});
  }
  return outcome;
}

int __wrap_fdatasync(int fd) { return Sync(fd, __real_fdatasync); }
int __wrap_fsync(int fd) { return Sync(fd, __real_fsync); }

int __wrap_fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  const bool punches = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
  if (!punches && Fails(kCallAllocate, fd)) return -1;
  return __real_fallocate64(fd, mode, offset, length);
}

int __wrap_madvise(void* at, size_t length, int advice) {
  // MADV_POPULATE_WRITE, which tells a full file system by EFAULT.
  if (advice == 23 && Fails(kCallAllocate, std::string())) {
    if (errno == ENOSPC) errno = EFAULT;
    return -1;
  }
  return __real_madvise(at, length, advice);
}

int __wrap_link(const char* from, const char* to) {
  if (Fails(kCallName, Whole(to))) return -1;
  const int outcome = __real_link(from, to);
  if (outcome == 0) RecordName(Call::What::kLink, Whole(to), InodeOf(to));
  return outcome;
}

int __wrap_rename(const char* from, const char* to) {
  if (Fails(kCallName, Whole(to))) return -1;
  const int outcome = __real_rename(from, to);
  if (outcome != 0) return outcome;
  RecordName(Call::What::kRename, Whole(to), InodeOf(to), Whole(from));
  return outcome;
}

int __wrap_unlink(const char* path) {
  if (Fails(kCallName, Whole(path))) return -1;
  const int outcome = __real_unlink(path);
  if (outcome == 0) RecordName(Call::What::kUnlink, Whole(path), 0);
  return outcome;
}

}  // extern "C"
