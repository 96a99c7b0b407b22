// The life of a region over a real store, from its making over syncs, evictions and restarts, with
// what was intended of each page and what was promised: for tests in which something fails, ends or
// is lost on the way.
#pragma once

#include <fcntl.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "stores/kept_store.h"
#include "system_calls.h"

namespace farpage::test {

inline constexpr uint64_t kLifePages = 24;

// What is known of each page, in memory that may be shared with the process that is killed.
struct Intentions {
  std::array<uint64_t, kLifePages> tried{};     // the newest version that somebody began to write
  std::array<uint64_t, kLifePages> written{};   // the newest whose write was confirmed
  std::array<uint64_t, kLifePages> promised{};  // the newest that a sync has confirmed
  uint64_t version = 0;
};

enum class LifeStore : uint8_t { kKeptZero, kKeptOne, kFile, kMappedFile };

inline bool IsFile(LifeStore store) {
  return store == LifeStore::kFile || store == LifeStore::kMappedFile;
}

struct LifeOptions {
  LifeStore store = LifeStore::kKeptOne;
  bool memory_directory = false;
  std::string folder;  // holds the store's file and the memory directory
};

// One process after another: Start and Stop are the ends of one. Each call that meets a failure
// tells its code and can be tried again.
class RegionLife {
 public:
  RegionLife(const LifeOptions& options, Intentions* intentions)
      : options_(options), told_(*intentions) {}

  // Opens the store, made if this is its first time, the memory and an appliance over both.
  Code Start() {
    const uint64_t size = kLifePages << kPageShift;
    auto store = OpenStore(size);
    if (!store.ok()) return store.error().code;
    std::unique_ptr<MemoryFiles> files;
    auto memory = OpenMemory(size, store.value().get(), &files);
    if (!memory.ok()) return memory.error().code;
    auto table = files == nullptr ? PageTable::Create(kLifePages)
                                  : PageTable::Over(std::move(files), kLifePages);
    if (!table.ok()) return table.error().code;
    ApplianceOptions settings;
    // Memory pressure never writes a user's file: all of it may be dirty.
    settings.frames_max = IsFile(options_.store) ? kLifePages : kLifePages - 4;
    settings.read_ahead_pages = 0;
    settings.window_bytes = kPageBytes;
    appliance_ = std::make_unique<Appliance>(settings);
    Region::Options region;
    region.size_bytes = size;
    region.writable = true;
    region.write_behind = !IsFile(options_.store);
    stag_ = appliance_->Use(region, std::move(store).value(), std::move(memory).value(),
                            std::move(table).value());
    return Code::kOk;
  }

  void Stop() {
    initiator_.reset();
    appliance_.reset();
  }

  Code Put(PageIndex page) {
    const uint64_t version = ++told_.version;
    told_.tried[page] = version;
    const Page bytes(kWords, version);
    const Code code = Use([&] {
      return Write(*initiator_, stag_, page << kPageShift, bytes.data(), uint32_t(kPageBytes)).code;
    });
    if (code == Code::kOk) told_.written[page] = version;
    return code;
  }

  // The page must be as it was written; one whose write failed may be either.
  Code Get(PageIndex page) {
    Page bytes(kWords);
    const Code code = ReadPage(page, &bytes);
    if (code == Code::kOk && told_.tried[page] == told_.written[page]) {
      CHECK(bytes == Of(told_.written[page]));
    }
    return code;
  }

  Code Sync(bool durable = true) {
    const auto before = told_.written;
    const auto synced = appliance_->Sync(durable);
    if (!synced.ok()) return synced.error().code;
    if (durable) told_.promised = before;
    return Code::kOk;
  }

  // After a restart: each page has a version that was at least promised and at most tried; what
  // memory kept is as it was written. From here on that is what was written and promised.
  void CheckFound() {
    for (PageIndex page = 0; page < kLifePages; page++) {
      Page bytes(kWords);
      const Code code = ReadPage(page, &bytes);
      CHECK_EQ(int(code), int(Code::kOk));
      const uint64_t found = VersionIn(bytes);
      const uint64_t least =
          options_.memory_directory ? told_.written[page] : told_.promised[page];
      const bool unsure = told_.tried[page] != told_.written[page];
      if (bytes != Of(found) && unsure) continue;  // its write was under way
      CHECK(bytes == Of(found));
      CHECK(found >= least);
      CHECK(found <= told_.tried[page]);
      told_.tried[page] = told_.written[page] = told_.promised[page] = found;
    }
  }

  // What no page was ever written to is filled without the store being read for it.
  [[nodiscard]] uint64_t pages_read() const { return appliance_->region->store->pages_read(); }
  [[nodiscard]] Region& region() { return *appliance_->region; }
  [[nodiscard]] Appliance& appliance() { return *appliance_; }

 private:
  using Page = std::vector<uint64_t>;
  static inline const size_t kWords = kPageBytes / sizeof(uint64_t);

  [[nodiscard]] std::string FilePath() const { return options_.folder + "/store"; }

  // What a page of this version holds; 0 is one that was never written.
  [[nodiscard]] Page Of(uint64_t version) const {
    const bool ones = version == 0 && options_.store == LifeStore::kKeptOne;
    return Page(kWords, ones ? ~uint64_t{0} : version);
  }
  static uint64_t VersionIn(const Page& bytes) {
    return bytes[0] == ~uint64_t{0} ? 0 : bytes[0];
  }

  template <typename Attempt>
  Code Use(Attempt attempt) {
    if (initiator_ == nullptr) initiator_ = appliance_->Connect(false, false, 8);
    const Code code = attempt();
    if (code != Code::kOk) initiator_.reset();
    return code;
  }

  Code ReadPage(PageIndex page, Page* into) {
    const auto length = static_cast<uint32_t>(kPageBytes);
    return Use([&] {
      return Read(*initiator_, stag_, page << kPageShift, into->data(), length).code;
    });
  }

  Result<std::unique_ptr<PageStore>> OpenStore(uint64_t size) {
    if (IsFile(options_.store)) {
      auto file = FileStore::Open({FilePath(), 0, 0, true});
      if (!file.ok()) return file.error();
      file_ = file.value()->fd();
      return std::unique_ptr<PageStore>(std::move(file).value());
    }
    const auto value = options_.store == LifeStore::kKeptOne ? FillValueStore::Value::kOne
                                                             : FillValueStore::Value::kZero;
    auto kept = KeptStore::Open(FilePath(), size, true, std::make_unique<FillValueStore>(value));
    if (!kept.ok()) return kept.error();
    return std::unique_ptr<PageStore>(std::move(kept).value());
  }

  Result<std::unique_ptr<RegionMemory>> OpenMemory(uint64_t size, PageStore* store,
                                                   std::unique_ptr<MemoryFiles>* files) {
    if (options_.store == LifeStore::kMappedFile) {
      return Plain(MappedMemory::Create(file_, 0, size, true));
    }
    if (!options_.memory_directory) return Plain(StagedMemory::Create(size, store));
    auto opened = MemoryFiles::Open({options_.folder, "0123456789abcdef0123456789abcdef", "boot",
                                     size, store->Identity()});
    if (!opened.ok()) return opened.error();
    *files = std::move(opened).value();
    if (Status adopted = (*files)->Adopt(true); !adopted.ok()) return adopted.error();
    CHECK_EQ((*files)->report().conflict_pages, 0u);
    return Plain(StagedMemory::Over((*files)->TakeMemory(), size, store));
  }
  template <typename Kind>
  static Result<std::unique_ptr<RegionMemory>> Plain(Result<std::unique_ptr<Kind>> made) {
    if (!made.ok()) return made.error();
    return std::unique_ptr<RegionMemory>(std::move(made).value());
  }

  const LifeOptions options_;
  Intentions& told_;
  std::unique_ptr<Appliance> appliance_;
  std::unique_ptr<Initiator> initiator_;
  uint32_t stag_ = 0;
  int file_ = -1;
};

// The user's file of a life, as long as the region and with blocks of its own.
inline void MakeLifeFile(const std::string& folder) {
  Fd fd(::open((folder + "/store").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::vector<std::byte> zeros(kLifePages << kPageShift);
  if (::pwrite(fd.get(), zeros.data(), zeros.size(), 0) != ssize_t(zeros.size())) std::abort();
  if (::fsync(fd.get()) != 0) std::abort();
  const Fd in(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (::fsync(in.get()) != 0) std::abort();
}

}  // namespace farpage::test
