// What a journal is written to: a file, or in tests something that remembers every write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "os/fd.h"
#include "os/mapping.h"

namespace farpage {

// Bytes with barriers. Nothing written is safe before MakeDurable() says so, and until then any
// part of it may be lost or torn. Thread: one at a time.
class JournalFile {
 public:
  virtual ~JournalFile() = default;

  // Room for the first `bytes` bytes, so that writing them finds space. Fails: kNoSpace, kIo;
  // nothing that was written changes.
  virtual Status Reserve(uint64_t bytes) = 0;
  virtual Status Write(uint64_t offset, std::span<const std::byte> bytes) = 0;
  // Bytes behind the end are left out of `got`.
  virtual Status Read(uint64_t offset, std::span<std::byte> into, uint64_t* got) = 0;
  // Starts the device on what was written; a hint.
  virtual void StartWriting(uint64_t offset, uint64_t bytes) = 0;
  virtual Status MakeDurable() = 0;
  // Gives the room behind the first `bytes` bytes back.
  virtual Status Shrink(uint64_t bytes) = 0;
  // The first `bytes` bytes, to be read.
  virtual Result<Mapping> Map(uint64_t bytes) = 0;
};

// A file of its own, private to its user.
class OsJournalFile final : public JournalFile {
 public:
  // Opens it, or makes it, durably, when `make` says so. Fails: kFileNotFound, kFileAccess,
  // kNoSpace, kIo.
  static Result<std::unique_ptr<OsJournalFile>> Open(const std::string& path, bool make);

  Status Reserve(uint64_t bytes) override;
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override;
  Status Read(uint64_t offset, std::span<std::byte> into, uint64_t* got) override;
  void StartWriting(uint64_t offset, uint64_t bytes) override;
  Status MakeDurable() override;
  Status Shrink(uint64_t bytes) override;
  Result<Mapping> Map(uint64_t bytes) override;

 private:
  explicit OsJournalFile(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Makes the entries of the folder that a path lies in durable: files made, renamed, removed there.
Status MakeFolderDurable(const std::string& path);

}  // namespace farpage
