// Anonymous region memory: a memfd, shared mapped. Plain external memory.
#pragma once

#include <memory>

#include "memory/region_memory.h"
#include "os/fd.h"
#include "os/mapping.h"

namespace farpage {

// Pages are filled with one byte, repeated; dropped ones are holes of the memfd.
class AnonymousMemory final : public RegionMemory {
 public:
  // `fill_byte` is what every untouched byte reads as. Fails: kMemoryFull, kIo.
  static Result<std::unique_ptr<AnonymousMemory>> Create(uint64_t length_bytes,
                                                         uint8_t fill_byte);

  [[nodiscard]] std::byte* address() const override { return mapping_.data(); }
  [[nodiscard]] uint64_t PopulatesInPlace(PageRun run) const override { return run.count; }
  void StartRead(PageRun) override {}
  [[nodiscard]] bool IsRead(PageRun) const override { return true; }
  Status Populate(PageRun run) override;
  void Drop(std::span<const PageRun> runs) override;
  void DropPrivateCopies(std::span<const PageRun>) override {}
  void DropWindow(PageRun) override {}
  [[nodiscard]] bool has_private_copies() const override { return false; }

 private:
  AnonymousMemory(Fd fd, Mapping mapping, uint8_t fill_byte)
      : fd_(std::move(fd)), mapping_(std::move(mapping)), fill_byte_(fill_byte) {}
  Fd fd_;
  Mapping mapping_;
  uint8_t fill_byte_;
};

}  // namespace farpage
