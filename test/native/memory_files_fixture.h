// Files of a memory directory as a process that died has left them.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "memory/memory_files.h"

namespace farpage::test {

inline constexpr uint64_t kPages = 4096;
inline const uint64_t kSize = kPages << kPageShift;

inline MemoryFiles::Options In(const TemporaryFolder& folder) {
  return {folder.File("."), "0123456789abcdef0123456789abcdef", "boot-1", kSize, {1, 2, 3, 4}};
}

inline std::unique_ptr<MemoryFiles> Open(const MemoryFiles::Options& options) {
  auto files = MemoryFiles::Open(options);
  if (!files.ok() || !files.value()->Adopt(true).ok()) std::abort();
  return std::move(files).value();
}

// Stores words as a process that died left them, and one byte into each page.
inline void Leave(const MemoryFiles::Options& options,
                  const std::vector<std::pair<PageIndex, PageWord>>& words) {
  auto files = Open(options);
  const Fd memory = files->TakeMemory();
  if (::ftruncate(memory.get(), static_cast<off_t>(kSize)) != 0) std::abort();
  for (const auto& [page, word] : words) {
    CHECK(files->ReserveWords(page).ok());
    files->words()[page].store(word);
    const char byte = static_cast<char>(page + 1);
    CHECK_EQ(::pwrite(memory.get(), &byte, 1, static_cast<off_t>(page << kPageShift)), 1);
  }
}

inline char ByteAt(const MemoryFiles::Options& options, PageIndex page) {
  const std::string path = options.directory + "/" + options.id + ".memory";
  const Fd memory(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0x55;
  if (::pread(memory.get(), &byte, 1, static_cast<off_t>(page << kPageShift)) < 0) return 1;
  return byte;
}

constexpr PageWord Word(PageState state, PageWord flags) {
  return static_cast<PageWord>(state) | flags;
}
inline constexpr PageWord kUsable = kReadable | kWritable;

}  // namespace farpage::test
