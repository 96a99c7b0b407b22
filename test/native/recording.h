// Files and stores in memory that remember every write and every barrier, and what a power loss at
// any moment may leave of them.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "base/page.h"
#include "memory/page_store.h"
#include "stores/journal.h"

namespace farpage::test {

using Bytes = std::vector<std::byte>;

// In the order in which it happened, over all files.
class Recording {
 public:
  struct Event {
    int file = 0;
    bool barrier = false;
    uint64_t offset = 0;
    Bytes bytes;
  };
  // False: nothing is remembered.
  bool on = true;

  void Wrote(int file, uint64_t offset, std::span<const std::byte> bytes) {
    if (!on) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    events_.push_back({file, false, offset, {bytes.begin(), bytes.end()}});
  }
  void Synced(int file) {
    const std::lock_guard<std::mutex> lock(mutex_);
    events_.push_back({file, true, 0, {}});
  }
  [[nodiscard]] size_t size() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return events_.size();
  }
  const std::vector<Event>& events() const { return events_; }

  // What the device holds of `file` when the power goes after the first `count` events: all that
  // came before a barrier, and of the rest any sectors.
  Bytes AfterPowerLoss(int file, size_t count, Bytes bytes, std::mt19937_64& random) const {
    size_t safe = 0;
    for (size_t n = 0; n < count; n++) {
      if (events_[n].file == file && events_[n].barrier) safe = n;
    }
    // Some devices lose all of it, some nothing, some write sectors as they please.
    const uint64_t mood = random() % 4;
    for (size_t n = 0; n < count; n++) {
      const Event& event = events_[n];
      if (event.file != file || event.barrier) continue;
      for (size_t at = 0; at < event.bytes.size(); at += kSectorBytes) {
        const bool kept = n < safe || mood == 0 || (mood >= 2 && random() % mood == 0);
        if (!kept) continue;
        const size_t length = std::min(kSectorBytes, event.bytes.size() - at);
        if (bytes.size() < event.offset + at + length) bytes.resize(event.offset + at + length);
        std::memcpy(bytes.data() + event.offset + at, event.bytes.data() + at, length);
      }
    }
    return bytes;
  }

 private:
  static constexpr size_t kSectorBytes = 512;
  std::mutex mutex_;
  std::vector<Event> events_;
};

// A journal in memory.
class MemoryJournalFile : public JournalFile {
 public:
  explicit MemoryJournalFile(Bytes* bytes, Recording* recording = nullptr, int file = 0)
      : bytes_(bytes), recording_(recording), file_(file) {}

  Status Reserve(uint64_t bytes) override {
    if (bytes > room) return Error{Code::kNoSpace, ENOSPC, "no room"};
    return {};
  }
  Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    if (on_write) on_write();
    if (Status fault = Called(); !fault.ok()) return fault;
    if (bytes_->size() < offset + bytes.size()) bytes_->resize(offset + bytes.size());
    std::memcpy(bytes_->data() + offset, bytes.data(), bytes.size());
    if (recording_ != nullptr) recording_->Wrote(file_, offset, bytes);
    return {};
  }
  Status Read(uint64_t offset, std::span<std::byte> into, uint64_t* got) override {
    *got = offset >= bytes_->size() ? 0 : std::min<uint64_t>(into.size(), bytes_->size() - offset);
    if (*got != 0) std::memcpy(into.data(), bytes_->data() + offset, *got);
    return {};
  }
  void StartWriting(uint64_t, uint64_t) override {}
  Status MakeDurable() override {
    if (Status fault = Called(); !fault.ok()) return fault;
    if (recording_ != nullptr) recording_->Synced(file_);
    return {};
  }
  Status Shrink(uint64_t bytes) override {
    bytes_->resize(std::min<size_t>(bytes_->size(), bytes));
    return {};
  }
  Result<Mapping> Map(uint64_t bytes) override {
    auto mapping = Mapping::Anonymous(bytes);
    if (mapping.ok()) std::memcpy(mapping.value().data(), bytes_->data(), bytes);
    return mapping;
  }

  // Called by each write before it is done.
  std::function<void()> on_write;
  uint64_t room = ~uint64_t{0};
  // The n-th write or barrier from now on fails once; 0: none does.
  uint64_t fails_at = 0;
  int error = EIO;

 private:
  Status Called() {
    if (fails_at == 0 || --fails_at != 0) return {};
    return Error{CodeOfErrno(error), error, "told to fail"};
  }
  Bytes* bytes_;
  Recording* recording_;
  int file_;
};

// A store in memory, of whole pages.
class RecordingStore : public PageStore {
 public:
  RecordingStore(Bytes* bytes, JournalStore* name, Recording* recording = nullptr, int file = 0)
      : bytes_(bytes), name_(name), recording_(recording), file_(file) {}

  PagesFrom OriginOf(PageRun run) const override { return {PageOrigin::kFile, run.count}; }
  StoreIdentity Identity() const override { return {name_->device, name_->inode, 0, 0}; }
  SinkFile Sink() const override { return {name_->path, name_->offset_bytes}; }
  Status Read(PageRun run, std::byte* into) override {
    std::memcpy(into, bytes_->data() + run.offset_bytes(), run.length_bytes());
    return {};
  }
  Status Write(std::span<PageImage> images) override {
    for (PageImage& image : images) {
      if (on_write) on_write();
      image.outcome = Called();
      if (!image.outcome.ok()) continue;
      std::memcpy(bytes_->data() + image.run.offset_bytes(), image.bytes, image.length_bytes);
      if (recording_ != nullptr) {
        recording_->Wrote(file_, image.run.offset_bytes(), {image.bytes, image.length_bytes});
      }
    }
    return {};
  }
  Status MakeDurable() override {
    if (Status fault = Called(); !fault.ok()) return fault;
    if (recording_ != nullptr) recording_->Synced(file_);
    return {};
  }

  // Called for each image before it is written.
  std::function<void()> on_write;
  uint64_t fails_at = 0;
  int error = EIO;

 private:
  Status Called() {
    if (fails_at == 0 || --fails_at != 0) return {};
    return Error{CodeOfErrno(error), error, "told to fail"};
  }
  Bytes* bytes_;
  JournalStore* name_;
  Recording* recording_;
  int file_;
};

// A page in which every word says the same, so that a torn one shows.
inline void FillPage(std::byte* page, uint64_t word) {
  for (uint64_t at = 0; at < kPageBytes; at += 8) std::memcpy(page + at, &word, 8);
}
inline bool IsFilledWith(const std::byte* page, uint64_t word) {
  for (uint64_t at = 0; at < kPageBytes; at += 8) {
    if (std::memcmp(page + at, &word, 8) != 0) return false;
  }
  return true;
}

}  // namespace farpage::test
