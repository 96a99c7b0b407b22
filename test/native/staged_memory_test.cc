// Staged memory gives pages back: those and no others, mapped or not.
#include <sys/stat.h>

#include "check.h"
#include "memory/staged_memory.h"
#include "stores/fill_value_store.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 4096;

uint64_t AllocatedPages(const StagedMemory& memory) {
  struct stat status{};
  CHECK_EQ(::fstat(memory.fd(), &status), 0);
  return static_cast<uint64_t>(status.st_blocks) * 512 / kPageBytes;
}

std::byte ValueOf(PageIndex page) { return std::byte{static_cast<uint8_t>(page % 251 + 1)}; }

// More runs than one call to the kernel takes.
std::vector<PageRun> EverySecond() {
  std::vector<PageRun> runs;
  for (PageIndex page = 0; page < kPages; page += 2) runs.push_back({page, 1});
  return runs;
}

}  // namespace

FARPAGE_TEST(staged_memory_gives_scattered_pages_back_and_no_others) {
  FillValueStore store(FillValueStore::Value::kZero);
  auto made = StagedMemory::Create(kPages << kPageShift, &store);
  CHECK(made.ok());
  StagedMemory& memory = *made.value();
  CHECK(memory.Populate({0, kPages}).ok());
  for (PageIndex page = 0; page < kPages; page++) {
    memory.address()[page << kPageShift] = ValueOf(page);
  }
  CHECK_EQ(AllocatedPages(memory), kPages);
  memory.Drop(EverySecond());
  CHECK_EQ(AllocatedPages(memory), kPages / 2);
  for (PageIndex page = 1; page < kPages; page += 2) {
    CHECK(memory.address()[page << kPageShift] == ValueOf(page));
  }
  // What was given back is new memory.
  for (PageIndex page = 0; page < kPages; page += 2) {
    CHECK(memory.address()[page << kPageShift] == std::byte{0});
  }
  CHECK_EQ(AllocatedPages(memory), kPages);
}

FARPAGE_TEST(staged_memory_gives_pages_back_while_it_has_no_addresses) {
  FillValueStore store(FillValueStore::Value::kZero);
  auto made = StagedMemory::Create(kPages << kPageShift, &store);
  CHECK(made.ok());
  StagedMemory& memory = *made.value();
  CHECK(memory.Populate({0, kPages}).ok());
  memory.Unmap();
  memory.Drop(EverySecond());
  CHECK_EQ(AllocatedPages(memory), kPages / 2);
  CHECK(memory.Map().ok());
  CHECK_EQ(AllocatedPages(memory), kPages / 2);
}

}  // namespace farpage::test
