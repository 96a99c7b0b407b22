// The store of regions that map no file: every page is one value, nothing can be written back.
#pragma once

#include "memory/page_store.h"

namespace farpage {

// All zeros or all ones. Pages written since are kept in memory only: Write refuses.
class FillValueStore final : public PageStore {
 public:
  enum class Value : uint8_t { kZero = 0x00, kOne = 0xff };
  explicit FillValueStore(Value value) : value_(value) {}

  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kFill, run.count};
  }
  [[nodiscard]] uint8_t fill_byte() const override { return static_cast<uint8_t>(value_); }
  [[nodiscard]] bool has_sink() const override { return false; }
  Status Read(PageRun run, std::byte* into) override;
  Status Write(std::span<PageImage> images) override;
  Status MakeDurable() override { return {}; }

 private:
  Value value_;
};

}  // namespace farpage
