#include "bench/page_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "bench/die.h"

namespace farpage::bench {
namespace {

constexpr size_t kStepBytes = size_t{2} << 20;
// cachestat(2); the C library of older systems has no name for it.
constexpr long kCachestat = 451;

void FillFile(int fd, uint64_t size_bytes) {
  std::mt19937_64 random(size_bytes);
  std::vector<uint64_t> words(kStepBytes / 8);
  for (uint64_t& word : words) word = random();
  for (uint64_t offset = 0; offset < size_bytes; offset += kStepBytes) {
    const auto bytes = static_cast<size_t>(std::min<uint64_t>(kStepBytes, size_bytes - offset));
    words[0] = offset;
    if (pwrite(fd, words.data(), bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes))
      Die("cannot fill the file");
  }
  Must(fsync(fd), "fsync");
}

}  // namespace

PageFile::PageFile(const std::string& path, uint64_t size_bytes)
    : path_(path), size_bytes_(size_bytes / kFilePageBytes * kFilePageBytes) {
  struct stat status{};
  made_ = stat(path.c_str(), &status) != 0;
  // An existing file is never cut to another size: it might be somebody's.
  if (!made_ && static_cast<uint64_t>(status.st_size) != size_bytes_) {
    errno = EEXIST;
    Die("the file has another size than --size");
  }
  fd_ = Fd(Must(open(path.c_str(), O_RDWR | O_CLOEXEC | (made_ ? O_CREAT | O_EXCL : 0), 0600),
                "open"));
  if (made_) FillFile(fd_.get(), size_bytes_);
  direct_fd_ = Fd(Must(open(path.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT), "open O_DIRECT"));
}

PageFile::~PageFile() {
  if (made_) unlink(path_.c_str());
}

void PageFile::Prepare(Cached cached) {
  Must(fdatasync(fd()), "fdatasync");
  if (posix_fadvise(fd(), 0, 0, POSIX_FADV_DONTNEED) != 0) Die("posix_fadvise");
  if (cached == Cached::kCold) return;
  std::vector<std::byte> buffer(kStepBytes);
  for (uint64_t offset = 0; offset < size_bytes_; offset += kStepBytes)
    Must(pread(fd(), buffer.data(), buffer.size(), static_cast<off_t>(offset)), "pread");
}

std::optional<uint64_t> PageFile::CachedPages() const {
  uint64_t range[2] = {0, size_bytes_};
  uint64_t counts[5] = {};
  if (syscall(kCachestat, fd(), range, counts, 0) != 0) return std::nullopt;
  return counts[0];
}

std::optional<uint64_t> PageFile::DeviceBytes() const {
  struct stat status{};
  Must(fstat(fd(), &status), "fstat");
  const std::string name = "/sys/dev/block/" + std::to_string(major(status.st_dev)) + ':' +
                           std::to_string(minor(status.st_dev)) + "/stat";
  FILE* const file = std::fopen(name.c_str(), "re");
  if (file == nullptr) return std::nullopt;
  unsigned long long field[7] = {};
  int read = 0;
  while (read < 7 && std::fscanf(file, "%llu", &field[read]) == 1) read++;
  std::fclose(file);
  if (read < 7) return std::nullopt;
  return field[6] * 512;  // sectors are 512 bytes here, whatever the device's are
}

}  // namespace farpage::bench
