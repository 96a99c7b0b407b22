// A source elsewhere without a network.
#pragma once

#include <algorithm>

#include "memory/page_store.h"

namespace farpage::test {

// A place elsewhere that answers at once, and where nothing can be written.
class Elsewhere final : public PageStore {
 public:
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  Status Read(PageRun run, std::byte* into) override {
    std::fill_n(into, run.length_bytes(), std::byte{7});
    return {};
  }
  Status Write(std::span<PageImage>) override { return Error{Code::kUnsupported, 0, "elsewhere"}; }
  Status MakeDurable() override { return {}; }
};

}  // namespace farpage::test
