// A process that uses regions in a random mix, with everything that moves pages between memory,
// tiers and files, until it is killed; and how the next one looks at what is there.
#pragma once

#include <fcntl.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "killed_client.h"
#include "mover.h"
#include "pool_fixture.h"
#include "stores/kept_store.h"

namespace farpage::test {

inline constexpr uint64_t kKilledFrames = 36;

// What a process is told by the one that kills it.
struct KilledLife {
  bool all_tiers = false;  // else the spill file that an appliance has where none is named
  uint32_t pool_stag = 0;
  uint64_t seed = 0;
  uint64_t nth = 0;  // call at which it ends itself; 0: none
  uint64_t steps = 0;
  std::string folder;
  std::string pool_socket;

  [[nodiscard]] std::string Text() const {
    return std::to_string(int(all_tiers)) + " " + std::to_string(pool_stag) + " " +
           std::to_string(seed) + " " + std::to_string(nth) + " " + std::to_string(steps) + " " +
           folder + " " + (pool_socket.empty() ? "-" : pool_socket);
  }
  static KilledLife From(const char* text) {
    int all_tiers = 0;
    unsigned pool_stag = 0;
    unsigned long long seed = 0;
    unsigned long long nth = 0;
    unsigned long long steps = 0;
    std::array<char, 256> folder{};
    std::array<char, 256> socket{};
    if (std::sscanf(text, "%d %u %llu %llu %llu %255s %255s", &all_tiers, &pool_stag, &seed, &nth,
                    &steps, folder.data(), socket.data()) != 7) {
      std::abort();
    }
    return {all_tiers != 0, pool_stag, seed, nth, steps, folder.data(), socket.data()};
  }
};

inline std::string KilledPath(const std::string& folder, uint32_t region) {
  return folder + "region-" + std::to_string(region);
}

// One process over all regions.
class KilledProcess {
 public:
  KilledProcess(const KilledLife& life, KilledRecord* record) : life_(life), record_(*record) {
    if (life.all_tiers) {
      UseAllTiers();
    } else {
      appliance_.UseDefaultSpill();
    }
    for (uint32_t n = 0; n < kKilledRegions; n++) {
      stags_[n] = Open(n);
      regions_[n] = appliance_.region;
    }
  }
  ~KilledProcess() {
    for (uint32_t n = 0; n + 1 < kKilledRegions; n++) {
      appliance_.region = std::move(regions_[n]);
      appliance_.RemoveRegion();
    }
    appliance_.region = std::move(regions_.back());
  }

  // Looks at every cell, and at what of the kept file is written. From here on what was found is
  // what there was.
  void CheckFound() {
    auto& kept = static_cast<KeptStore&>(*regions_[kKilledRegions - 1]->store);
    for (PageIndex page = 0; page < KilledPages(); page++) {
      bool touched = false;
      bool safe = false;
      for (uint64_t cell = page * CellsOfPage(); cell < CellsUpTo(page + 1); cell++) {
        touched = touched || record_.cells[kKilledRegions - 1][cell].touched();
        safe = safe || record_.cells[kKilledRegions - 1][cell].safe();
      }
      const bool written = kept.KeptPages({page, 1}) == 1;
      Must(written ? touched : !safe, "page " + std::to_string(page) + " of the written map");
    }
    auto reader = appliance_.Connect();
    std::vector<std::byte> bytes(kBlockCells * kCellBytes);
    for (uint32_t region = 0; region < kKilledRegions; region++) {
      for (uint64_t block = 0; block < kBlocks; block++) {
        const uint64_t first = block * kBlockCells;
        const uint64_t count = std::min(kBlockCells, kCells - first);
        const auto length = static_cast<uint32_t>(count * kCellBytes);
        const auto done =
            Read(*reader, stags_[region], first * kCellBytes, bytes.data(), length);
        Must(done.code == Code::kOk, CodeName(done.code));
        for (uint64_t n = 0; n < count; n++) {
          const std::span<const std::byte> found(bytes.data() + n * kCellBytes, kCellBytes);
          Must(record_.cells[region][first + n].Find(region, first + n, found,
                                                     IsWrittenByCells(block)),
               "cell " + std::to_string(first + n) + " of region " + std::to_string(region));
        }
        record_.checked += count;
      }
    }
  }

  // Clients and an administrator, until there were enough batches.
  void Mix() {
    std::vector<std::thread> clients;
    for (uint32_t n = 0; n < kKilledClients; n++) {
      clients.emplace_back([this, n] {
        KilledClient(appliance_, record_, stags_, n, life_.seed).Run(life_.steps, AllTiers());
      });
    }
    std::atomic<bool> stop{false};
    std::thread administrator([&] { Administrate(stop); });
    for (std::thread& client : clients) client.join();
    stop.store(true);
    administrator.join();
    for (uint32_t n = 0; n < kKilledRegions; n++) Sync(n, {0, KilledPages()}, true);
  }

 private:
  [[nodiscard]] uint32_t AllTiers() const { return (1u << appliance_.tiers->size()) - 1; }

  // Each is full soon, so that pages go all the way down and come back from everywhere.
  void UseAllTiers() {
    std::vector<std::unique_ptr<Tier>> levels;
    levels.push_back(CompressedTier::Create(24 << kPageShift).value());
    levels.push_back(SpillTier::Open(life_.folder, 64 << kPageShift).value());
    RemoteTierOptions options;
    options.pool = "the pool";
    options.deadline_ns = 60'000'000'000;
    options.need_door = [this] {
      while (pool_.load() == nullptr) std::this_thread::yield();
      PoolDoor door;
      door.remote.connect.path = life_.pool_socket;
      door.remote.connect.ask.ticket = appliance_.ticket;
      door.remote.stag = life_.pool_stag;
      door.length_bytes = kKilledRegions * KilledPages() << kPageShift;
      door.fresh = true;
      pool_.load()->Open(door);
    };
    auto pool = std::make_unique<RemoteTier>(std::move(options));
    pool_.store(pool.get());
    levels.push_back(std::move(pool));
    appliance_.UseTiers(std::move(levels));
  }

  uint32_t Open(uint32_t region) {
    const std::string path = KilledPath(life_.folder, region);
    switch (static_cast<KilledKind>(region)) {
      case KilledKind::kMapped: return appliance_.OpenFile(path, true);
      case KilledKind::kStaged: {
        auto file = FileStore::Open({path, 0, 0, true});
        Must(file.ok(), "open " + path);
        return appliance_.OpenStaged(kKilledBytes, std::move(file).value());
      }
      default: {
        const bool made = std::filesystem::exists(path);
        const auto one = FillValueStore::Value::kOne;
        auto kept =
            KeptStore::Open(path, kKilledBytes, !made, std::make_unique<FillValueStore>(one));
        Must(kept.ok(), "open " + path);
        return appliance_.OpenStaged(kKilledBytes, std::move(kept).value());
      }
    }
  }

  // What was written when it began is safe when it has ended.
  void Sync(uint32_t region, PageRun run, bool durable) {
    const uint64_t first = CellsUpTo(run.first);
    std::vector<uint32_t> written;
    for (uint64_t cell = first; cell < CellsUpTo(run.end()); cell++) {
      written.push_back(record_.cells[region][cell].written());
    }
    const auto synced = appliance_.pager.write_back().Run(regions_[region], run, durable);
    Must(synced.ok(), "a sync");
    for (size_t n = 0; n < written.size(); n++) {
      record_.cells[region][first + n].Promise(written[n]);
    }
    record_.syncs++;
  }

  void Administrate(const std::atomic<bool>& stop) {
    Random random(life_.seed * 10 + kKilledClients);
    std::vector<std::unique_ptr<Mover>> movers;
    for (const auto& region : regions_) {
      movers.push_back(std::make_unique<Mover>(appliance_.pager, region));
    }
    while (!stop.load()) {
      const auto region = static_cast<uint32_t>(Below(random, kKilledRegions));
      const PageIndex first = Below(random, KilledPages());
      const PageRun run{first, 1 + Below(random, KilledPages() - first)};
      if (Below(random, 2) == 0) {
        movers[region]->DoOne(random, run);
      } else {
        SyncOrTake(random, region, run);
      }
      uint32_t used = 0;
      for (size_t n = 0; n < appliance_.tiers->size(); n++) {
        if (appliance_.tiers->stats(n).stored_pages != 0) used |= 1u << n;
        Must(appliance_.tiers->stats(n).lost_pages == 0, "a page lost in a tier");
      }
      record_.tiers.store(used);
      std::this_thread::sleep_for(std::chrono::microseconds(Below(random, 1000)));
    }
  }

  void SyncOrTake(Random& random, uint32_t index, PageRun run) {
    const std::shared_ptr<Region>& region = regions_[index];
    Pager& pager = appliance_.pager;
    switch (Below(random, 6)) {
      case 0: Sync(index, run, Below(random, 2) == 0); break;
      case 1: Sync(index, {0, KilledPages()}, Below(random, 2) == 0); break;
      case 2: pager.write_back().Submit(region, run, true, [](auto) {}); break;
      case 3: pager.Reclaim(region, run); break;
      case 4: {
        const auto rule = Below(random, 2) == 0 ? DirtyRule::kKeep : DirtyRule::kRefuse;
        Must(pager.indicators().Invalidate(region, run, rule).busy_pages == 0, "invalidated");
        break;
      }
      default: {
        const Fd file(::open(KilledPath(life_.folder, index).c_str(), O_RDONLY | O_CLOEXEC));
        ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
      }
    }
  }

  static ApplianceOptions Settings() {
    ApplianceOptions settings;
    settings.frames_max = kKilledFrames;
    settings.read_ahead_pages = 8;
    settings.window_bytes = 4 * kPageBytes;
    return settings;
  }

  const KilledLife& life_;
  KilledRecord& record_;
  std::atomic<RemoteTier*> pool_{nullptr};
  Appliance appliance_{Settings()};
  std::array<std::shared_ptr<Region>, kKilledRegions> regions_;
  std::array<uint32_t, kKilledRegions> stags_{};
};

}  // namespace farpage::test
