// Images of pages that writers wanted while a sync had not got their bytes yet.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/page.h"
#include "base/result.h"
#include "os/mapping.h"

namespace farpage {

// Images held at once, at most: 16 MiB of 4 KiB pages. A writer that finds none waits until the
// sync has written some.
inline constexpr uint32_t kImagePoolPages = 4096;
// Pages that such writers ask for ahead of their turn, at most; others wait for their turn.
inline constexpr size_t kUrgentPagesMax = 1024;

// Slots of one page each, handed from writers to the sync. The lock is held for a few
// instructions, never for a copy. Thread: any; Drain and Close: the sync's.
class ImagePool {
 public:
  struct Image {
    uint32_t member = 0;
    PageIndex page = 0;
    uint32_t slot = 0;
    uint32_t checksum = 0;
  };

  // Takes memory for the slots, which is committed as they are used. Idempotent.
  Status Open();

  // A slot for a copy, or none: then the page is remembered as urgent. In a turn.
  bool Take(uint32_t member, PageIndex page, uint32_t* slot);
  // The copy is made, or was not needed. In a turn.
  void Put(const Image& image);
  void Return(uint32_t slot);
  [[nodiscard]] std::byte* Bytes(uint32_t slot) const {
    return memory_.data() + slot * kPageBytes;
  }

  // What has come since the last call: images to be taken and given back by Return, and pages that
  // somebody waits for.
  void Drain(std::vector<Image>* images, std::vector<Image>* urgent);
  // Waits until no writer has a slot in hand: a turn at most.
  void AwaitWriters();
  // Gives the memory of the slots back to the system. Requires: none is in use.
  void Release();

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  Mapping memory_;
  std::vector<uint32_t> free_;
  std::vector<Image> images_;
  std::vector<Image> urgent_;
  uint32_t in_hand_ = 0;
};

}  // namespace farpage
