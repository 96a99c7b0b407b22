#include "stores/fill_value_store.h"

#include <cstring>

namespace farpage {

Status FillValueStore::Read(PageRun run, std::byte* into) {
  std::memset(into, static_cast<int>(value_), run.length_bytes());
  return {};
}

Status FillValueStore::Write(std::span<PageImage>) {
  return Error{Code::kUnsupported, 0, "a region without a file has nowhere to write back to"};
}

}  // namespace farpage
