// A whole appliance without Node: pager, NIC, one region, and initiators to use it.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "fabric/initiator.h"
#include "fabric/nic.h"
#include "memory/mapped_memory.h"
#include "memory/staged_memory.h"
#include "pager/pager.h"
#include "stores/file_store.h"
#include "stores/compressed_tier.h"
#include "stores/fill_value_store.h"
#include "stores/spill_tier.h"
#include "stores/tier_stack.h"

namespace farpage::test {

// A folder of its own under the temporary directory, emptied at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/var/tmp") + "/farpage-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A tebibyte where there is room for it: ThreadSanitizer leaves a program about as much address
// space in all.
#if defined(__SANITIZE_THREAD__)
inline constexpr uint64_t kSparseBytes = uint64_t{1} << 36;
#else
inline constexpr uint64_t kSparseBytes = uint64_t{1} << 40;
#endif

struct ApplianceOptions {
  uint64_t frames_max = 1u << 20;
  uint32_t nic_threads = 1;
  uint32_t poll_us = 20;
  uint32_t fill_threads = 4;
  uint32_t read_ahead_pages = 16;
  uint64_t window_bytes = 256 * 1024;
  uint64_t mapped_bytes_max = kMappedBytesMax;
  uint64_t use_tick_ns = kUseTickNs;
};

class Appliance {
 public:
  explicit Appliance(const ApplianceOptions& options = {})
      : pager(Pager::Options{options.frames_max, options.fill_threads, options.read_ahead_pages,
                             AllocationAccount::kUnbounded, options.mapped_bytes_max,
                             options.use_tick_ns}) {
    auto started = Nic::Start({options.nic_threads, options.poll_us, 256, options.window_bytes},
                              &pager, &pager.shootdown());
    if (!started.ok()) std::abort();
    nic = std::move(started).value();
    domain = std::make_shared<ProtectionDomain>(pager.shootdown(), 64);
    socket_path = folder.File("fabric");
    if (!nic->ListenUnix(socket_path).ok()) std::abort();
    auto bound = nic->ListenTcp("127.0.0.1", 0);
    if (!bound.ok()) std::abort();
    port = bound.value();
    nic->AddTicket(ticket, domain, 60'000'000'000);
  }
  ~Appliance() {
    nic->CloseDomain(domain);
    domain->DeregisterAll(nullptr);
    nic->Stop();
    RemoveRegion();
    pager.Close();
  }
  Appliance(const Appliance&) = delete;
  Appliance& operator=(const Appliance&) = delete;

  // Dirty pages of the regions made from now on go to compressed memory and, where there are
  // unnamed files, on to a spill file.
  void UseTiers(uint64_t compressed_pages, uint64_t spill_pages) {
    std::vector<std::unique_ptr<Tier>> levels;
    auto compressed = CompressedTier::Create(compressed_pages << kPageShift);
    if (compressed.ok()) levels.push_back(std::move(compressed).value());
    auto spill = SpillTier::Open(folder.File("."), spill_pages << kPageShift);
    if (spill.ok()) levels.push_back(std::move(spill).value());
    UseTiers(std::move(levels));
  }
  // The tier there is where none is named: a file of 16 times the memory (spill.ts).
  void UseDefaultSpill() {
    std::vector<std::unique_ptr<Tier>> levels;
    auto spill = SpillTier::Later(folder.File("."), pager.budget().max() << (4 + kPageShift));
    if (spill.ok()) levels.push_back(std::move(spill).value());
    UseTiers(std::move(levels));
  }
  void UseTiers(std::vector<std::unique_ptr<Tier>> levels) {
    tiers = std::make_shared<TierStack>(std::move(levels));
    pager.UseTiers(tiers);
  }

  // Makes the region and registers all of it; returns its STag.
  uint32_t OpenFile(const std::string& path, bool writable, bool write_behind = false) {
    auto store = FileStore::Open({path, 0, 0, writable});
    if (!store.ok()) std::abort();
    file = store.value().get();
    const uint64_t size = store.value()->length_bytes();
    auto memory = MappedMemory::Create(store.value()->fd(), 0, size, writable);
    if (!memory.ok()) std::abort();
    Region::Options options;
    options.size_bytes = size;
    options.writable = writable;
    options.write_behind = write_behind;
    return Use(options, std::move(store).value(), std::move(memory).value());
  }
  // Staged, and synced through a journal.
  uint32_t OpenAtomicFile(const std::string& path) {
    auto journal = JournalFolder::Open(folder.File("journal"));
    auto store = FileStore::Open({path, 0, 0, true});
    if (!journal.ok() || !store.ok()) std::abort();
    pager.atomic_sync().UseJournal(std::move(journal).value());
    file = store.value().get();
    Region::Options options;
    options.size_bytes = file->length_bytes();
    options.writable = true;
    options.atomic = true;
    auto memory = StagedMemory::Create(options.size_bytes, file);
    if (!memory.ok()) std::abort();
    return Use(options, std::move(store).value(), std::move(memory).value());
  }
  uint32_t OpenAnonymous(uint64_t size, FillValueStore::Value value) {
    return OpenStaged(size, std::make_unique<FillValueStore>(value));
  }

  // Staged memory over any store.
  uint32_t OpenStaged(uint64_t size, std::unique_ptr<PageStore> store) {
    auto memory = StagedMemory::Create(size, store.get());
    if (!memory.ok()) std::abort();
    Region::Options options;
    options.size_bytes = size;
    options.writable = true;
    return Use(options, std::move(store), std::move(memory).value());
  }

  // The same of any parts; the region is that of the fixture.
  uint32_t Use(const Region::Options& options, std::unique_ptr<PageStore> store,
               std::unique_ptr<RegionMemory> memory) {
    auto table = PageTable::Create((options.size_bytes + kPageBytes - 1) >> kPageShift);
    if (!table.ok()) std::abort();
    return Use(options, std::move(store), std::move(memory), std::move(table).value());
  }
  uint32_t Use(const Region::Options& options, std::unique_ptr<PageStore> store,
               std::unique_ptr<RegionMemory> memory, std::unique_ptr<PageTable> table) {
    region = std::make_shared<Region>(options, std::move(table), std::move(store),
                                      std::move(memory));
    pager.AddRegion(region);
    auto stag = domain->Register(region, 0, options.size_bytes, options.writable);
    if (!stag.ok()) std::abort();
    return stag.value();
  }

  std::unique_ptr<Initiator> Connect(bool tcp = false, bool crc = false, uint16_t depth = 64,
                                     uint8_t flags = kFlagAnyOrder | kFlagReason) {
    InitiatorOptions options;
    if (tcp) {
      options.host = "127.0.0.1";
      options.port = port;
    } else {
      options.path = socket_path;
    }
    options.ask.ticket = ticket;
    options.ask.crc = crc;
    options.ask.depth = depth;
    options.ask.flags = flags;
    auto connected = Initiator::Connect(options, NowNs() + 5'000'000'000);
    if (!connected.ok()) return nullptr;
    return std::move(connected).value();
  }

  // Ends the region as its owner does: nobody reaches it, then the pager lets go of it.
  void RemoveRegion() {
    if (region == nullptr) return;
    region->removed.store(true);
    domain->DeregisterAll(region.get());
    pager.RemoveRegion(region);
    region.reset();
  }

  Result<WriteBackReceipt> Sync(bool durable = true) {
    return Sync({0, region->table->pages()}, durable);
  }
  Result<WriteBackReceipt> Sync(PageRun run, bool durable) {
    if (!region->atomic) return pager.write_back().Run(region, run, durable);
    auto receipt = pager.atomic_sync().Run({{region, run}});
    if (!receipt.ok()) return receipt.error();
    return receipt.value().members[0];
  }

  TemporaryFolder folder;
  std::shared_ptr<TierStack> tiers;
  Pager pager;
  std::unique_ptr<Nic> nic;
  std::shared_ptr<ProtectionDomain> domain;
  std::shared_ptr<Region> region;
  FileStore* file = nullptr;
  Ticket ticket{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  std::string socket_path;
  uint16_t port = 0;
};

// Posts one request and waits for its fate.
inline Completion Do(Initiator& initiator, const WorkRequest& request) {
  Completion completion;
  completion.code = Code::kInternal;
  if (initiator.Post({&request, 1}) != 1) return completion;
  initiator.Flush();
  const uint64_t deadline = NowNs() + 10'000'000'000;
  while (initiator.Poll({&completion, 1}) == 0) {
    if (Status waited = initiator.Wait(20'000, deadline); !waited.ok()) {
      completion.code = waited.error().code;
      return completion;
    }
  }
  return completion;
}

inline Completion Read(Initiator& initiator, uint32_t stag, uint64_t offset, void* to,
                       uint32_t bytes) {
  WorkRequest request;
  request.opcode = Opcode::kRead;
  request.stag = stag;
  request.remote_offset = offset;
  request.length_bytes = bytes;
  request.local = static_cast<std::byte*>(to);
  return Do(initiator, request);
}

// A WRITE and the fence behind it; the WRITE's code, else the fence's.
inline Completion Write(Initiator& initiator, uint32_t stag, uint64_t offset, const void* from,
                        uint32_t bytes) {
  WorkRequest request;
  request.opcode = Opcode::kWrite;
  request.stag = stag;
  request.remote_offset = offset;
  request.length_bytes = bytes;
  request.local = static_cast<std::byte*>(const_cast<void*>(from));
  const Completion written = Do(initiator, request);
  if (written.code != Code::kOk) return written;
  Completion fence = Read(initiator, stag, 0, nullptr, 0);
  // A refused WRITE that had been handed over completes a second time, before its fence.
  while (fence.code == Code::kOk && initiator.completions() != 0) initiator.Poll({&fence, 1});
  return fence;
}

}  // namespace farpage::test
