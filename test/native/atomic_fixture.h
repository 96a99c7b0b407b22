// Regions that are synced atomically, without a NIC: stores and journal in memory.
#pragma once

#include <array>
#include <string>
#include <thread>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "memory/region_copy.h"
#include "memory_journal.h"
#include "memory/staged_memory.h"
#include "pager/atomic_sync.h"
#include "pager/page_change.h"

namespace farpage::test {

class AtomicDesk {
 public:
  explicit AtomicDesk(uint64_t pages, uint32_t regions = 2, uint64_t partial = 0)
      : size_bytes((pages << kPageShift) - partial), sync(shootdown, waiters) {
    counter = shootdown.Register();
    auto opened = JournalFolder::Over(folder.File("journal"), journal.Opener(&recording, kJournal));
    if (!opened.ok()) std::abort();
    journal_file = journal.files[0];
    sync.UseJournal(std::move(opened).value());
    names.reserve(regions);
    bytes.reserve(regions);
    for (uint32_t n = 0; n < regions; n++) Open(n, pages);
  }
  ~AtomicDesk() {
    sync.Close();
    shootdown.Unregister(counter);
  }

  // What a fabric thread does with one word. False: the page waits for its turn.
  bool TryPut(TurnCounter* turns, uint32_t region, uint64_t offset, uint64_t value) {
    const Turn turn(turns);
    const PageIndex page = offset >> kPageShift;
    PageTable& table = *members[region].region->table;
    for (int look = 0; !table.MarkDirty(page); look++) {
      PageWord word = table.Load(page);
      if (StateOf(word) != PageState::kPresent) return false;
      if (!table.Frozen(word)) {
        (void)table.Change(page, word, word | kWritable);
      } else if (sync.Thaw(members[region].region, page) != AtomicSync::Thawed::kReady) {
        return false;
      }
    }
    // The window that the grace period closes: marked, and not yet written.
    if (value % 4 == 1) std::this_thread::yield();
    CHECK(CopyToRegion(members[region].region->memory->address() + offset, &value, 8));
    return true;
  }
  void Put(TurnCounter* turns, uint32_t region, uint64_t offset, uint64_t value) {
    while (!TryPut(turns, region, offset, value)) std::this_thread::yield();
  }
  void Put(uint32_t region, PageIndex page, uint64_t value) {
    Put(counter, region, page << kPageShift, value);
  }
  uint64_t Stored(uint32_t region, PageIndex page) const {
    uint64_t value = 0;
    std::memcpy(&value, bytes[region].data() + (page << kPageShift), 8);
    return value;
  }
  Result<AtomicReceipt> Sync() { return sync.Run(members); }
  uint64_t Dirty() const {
    uint64_t dirty = 0;
    for (const auto& member : members) dirty += member.region->table->dirty();
    return dirty;
  }

  static constexpr int kJournal = 100;  // the first of its files, in the recording
  const uint64_t size_bytes;
  TemporaryFolder folder;
  Recording recording;
  MemoryJournal journal;
  std::vector<JournalStore> names;
  std::vector<Bytes> bytes;
  Shootdown shootdown;
  WaiterList waiters;
  AtomicSync sync;
  MemoryJournalFile* journal_file = nullptr;
  std::vector<RecordingStore*> stores;
  std::vector<AtomicSync::Member> members;
  TurnCounter* counter = nullptr;

 private:
  void Open(uint32_t index, uint64_t pages) {
    names.push_back({"/store-" + std::to_string(index), 1, index + 1, 0, size_bytes});
    bytes.emplace_back(pages << kPageShift);
    auto store = std::make_unique<RecordingStore>(&bytes.back(), &names.back(), &recording,
                                                  static_cast<int>(index));
    stores.push_back(store.get());
    auto memory = StagedMemory::Create(size_bytes, store.get());
    auto table = PageTable::Create(pages);
    if (!memory.ok() || !table.ok()) std::abort();
    Region::Options options;
    options.size_bytes = size_bytes;
    options.writable = true;
    options.atomic = true;
    auto region = std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                           std::move(memory).value());
    region->table->Follow(&sync.epoch());
    for (PageIndex page = 0; page < pages; page++) {
      ChangePage(*region->table, page,
                 [](PageWord word) { return WithState(word, PageState::kFilling); });
      ChangePage(*region->table, page, [&](PageWord) { return region->PresentFlags(); });
    }
    members.push_back({std::move(region), {0, pages}});
  }
};

}  // namespace farpage::test
