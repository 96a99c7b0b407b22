// The file that a measurement reads or writes, and what the kernel and the device hold of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "os/fd.h"

namespace farpage::bench {

// The unit of every file measurement, fixed so that figures of different machines compare.
inline constexpr uint64_t kFilePageBytes = 4096;

// How much of a file the page cache holds when a measurement starts.
enum class Cached { kCold, kHot };

// A file whose blocks are all allocated. Made if it is missing, and then removed with the object;
// one that was there must have the size asked for and stays, its content overwritten by `sync`.
class PageFile {
 public:
  PageFile(const std::string& path, uint64_t size_bytes);
  ~PageFile();
  PageFile(const PageFile&) = delete;
  PageFile& operator=(const PageFile&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] int direct_fd() const { return direct_fd_.get(); }  // O_DIRECT
  [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] uint64_t pages() const { return size_bytes_ / kFilePageBytes; }

  // Makes the page cache hold none of the file, or all of it as reading it in order leaves it.
  // Writes what is dirty first.
  void Prepare(Cached cached);
  // Pages of the file in the page cache (cachestat(2), Linux 6.5); nothing where that is missing.
  [[nodiscard]] std::optional<uint64_t> CachedPages() const;
  // Bytes that the file's device has taken in since it exists (/sys/dev/block/M:N/stat, field 7);
  // nothing where there is no device to ask (tmpfs, overlayfs). Counts every writer's bytes.
  [[nodiscard]] std::optional<uint64_t> DeviceBytes() const;

 private:
  std::string path_;
  uint64_t size_bytes_;
  bool made_ = false;
  Fd fd_;
  Fd direct_fd_;
};

}  // namespace farpage::bench
