// A copy whose process is killed while it pulls its source, is written and synced, and lets its
// source go: at the n-th call on its file, at a step of a ring, or at any moment. Whoever starts
// next finds each page as it was synced, or as the source has it; and what was told to need no
// source any more is whole without one.
// FARPAGE_KILLS makes it longer, FARPAGE_SEED repeats a run.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "appliance_fixture.h"
#include "check.h"
#include "fetched.h"
#include "killed_child.h"
#include "stores/kept_store.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

// Some whole runs, in more than one batch, and a short one.
constexpr uint64_t kPages = 9 * kPrefetchRunPages + 7;
const uint64_t kSize = kPages << kPageShift;
// A life takes about as long, its process's start included.
constexpr uint64_t kLifeUs = 120'000;

using Page = std::vector<uint64_t>;

// What a page of this version holds; 0 is the source's.
Page PageOf(PageIndex page, uint64_t version) {
  return Page(kPageBytes / sizeof(uint64_t), version != 0 ? version : ~page);
}

// Another place with the region's pages, of which nothing can be written.
class Source final : public PageStore {
 public:
  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  Status Read(PageRun run, std::byte* into) override {
    CountRead(run);
    for (PageIndex page = run.first; page < run.end(); page++) {
      const Page bytes = PageOf(page, 0);
      std::memcpy(into + ((page - run.first) << kPageShift), bytes.data(), kPageBytes);
    }
    return {};
  }
  Status Write(std::span<PageImage>) override { return Error{Code::kUnsupported, 0, "source"}; }
  Status MakeDurable() override { return {}; }
};

// What lives over the death of a child.
struct Told {
  std::array<uint64_t, kPages> tried{};     // the newest version that somebody began to write
  std::array<uint64_t, kPages> promised{};  // the newest that a sync has confirmed
  uint64_t version = 0;
  bool detached = false;
};

struct Victim {
  uint32_t calls = 0;  // which of them are counted
  uint64_t nth = 0;    // 0: at any moment
  uint64_t seed = 0;
  std::string folder;
};

// One process over the copy's file.
class Copy {
 public:
  Copy(const std::string& folder, Told* told) : told_(*told) {
    std::unique_ptr<PageStore> base;
    if (!told->detached) base = std::make_unique<Source>();
    auto kept = KeptStore::Open(folder + "copy", kSize, true, std::move(base));
    REQUIRE(kept.ok());
    stag_ = appliance_.OpenStaged(kSize, std::move(kept).value());
    user_ = appliance_.Connect();
  }

  void Put(PageIndex page) {
    const uint64_t version = ++told_.version;
    told_.tried[page] = version;
    const Page bytes = PageOf(page, version);
    const auto length = static_cast<uint32_t>(kPageBytes);
    const Completion done = Write(*user_, stag_, page << kPageShift, bytes.data(), length);
    CHECK_EQ(int(done.code), int(Code::kOk));
  }

  void Sync() {
    const auto before = told_.tried;
    CHECK(appliance_.Sync().ok());
    told_.promised = before;
  }

  void BeginPull() { pull_ = std::make_unique<Fetched>(appliance_, appliance_.region); }
  void EndPull() { CHECK(pull_->Await().outcome.ok()); }

  // As `detach` does it: only what is in the copy's own file counts.
  void Detach() {
    Sync();
    CHECK_EQ(Prefetcher::NeededPages(*appliance_.region, {0, kPages}), 0u);
    told_.detached = true;
    appliance_.region->store->DetachSource();
  }

  // Each page has a version that was at least promised and at most tried: from here on that is
  // what was written and promised.
  void CheckFound() {
    for (PageIndex page = 0; page < kPages; page++) {
      Page bytes(kPageBytes / sizeof(uint64_t));
      const auto length = static_cast<uint32_t>(kPageBytes);
      const Completion done = Read(*user_, stag_, page << kPageShift, bytes.data(), length);
      CHECK_EQ(int(done.code), int(Code::kOk));
      const uint64_t found = bytes[0] == ~page ? 0 : bytes[0];
      CHECK(bytes == PageOf(page, found));
      CHECK(found >= told_.promised[page]);
      CHECK(found <= told_.tried[page]);
      told_.tried[page] = told_.promised[page] = found;
    }
  }

 private:
  Told& told_;
  uint32_t stag_ = 0;
  std::unique_ptr<Fetched> pull_;
  Appliance appliance_;  // goes before what it calls back into
  std::unique_ptr<Initiator> user_;
};

// The life that ends: it is written while it is pulled, then its source goes, and it is opened
// without one.
void Live(const Victim& victim, Told* told) {
  const CallFault fault(victim.folder, victim.calls, victim.nth, kKillInstead);
  std::mt19937_64 random(victim.seed);
  {
    Copy copy(victim.folder, told);
    for (int n = 0; n < 10; n++) copy.Put(random() % kPages);
    copy.BeginPull();
    for (int n = 0; n < 30; n++) {
      if (random() % 8 == 0) {
        copy.Sync();
      } else {
        copy.Put(random() % kPages);
      }
    }
    copy.EndPull();
    copy.Detach();
    for (int n = 0; n < 10; n++) copy.Put(random() % kPages);
    copy.Sync();
  }
  Copy alone(victim.folder, told);
  for (int n = 0; n < 10; n++) alone.Put(random() % kPages);
  alone.Sync();
}

std::string TextOf(const Victim& victim) {
  return std::to_string(victim.calls) + " " + std::to_string(victim.nth) + " " +
         std::to_string(victim.seed) + " " + victim.folder;
}

// In the process that is killed: true once it has lived.
bool LiveAsChild() {
  const char* text = ToldByParent();
  if (text == nullptr) return false;
  Victim victim;
  unsigned long long nth = 0;
  unsigned long long seed = 0;
  std::array<char, 256> folder{};
  if (std::sscanf(text, "%u %llu %llu %255s", &victim.calls, &nth, &seed, folder.data()) != 4) {
    std::abort();
  }
  victim.nth = nth;
  victim.seed = seed;
  victim.folder = folder.data();
  Live(victim, ShareFile<Told>(victim.folder + "told"));
  return true;
}

// Kills once; false: the life does not get that far.
bool KillAndLook(const char* test, uint32_t calls, uint64_t nth, uint64_t seed) {
  const TemporaryFolder folder;
  const Victim victim{calls, nth, seed, folder.File("")};
  auto* told = ShareFile<Told>(victim.folder + "told");
  const uint64_t end_us = nth == 0 ? 1 + seed % kLifeUs : 0;
  const bool killed = IsKilled(test, TextOf(victim), victim.folder, end_us);
  {
    Copy next(victim.folder, told);
    next.CheckFound();
    if (!told->detached) {
      next.BeginPull();
      next.Put(seed % kPages);
      next.EndPull();
      next.Detach();
    }
  }
  {
    Copy alone(victim.folder, told);
    alone.CheckFound();
  }
  ::munmap(told, sizeof(Told));
  return killed;
}

// A few kills in the normal run, FARPAGE_KILLS of them in a long one: a third at a random call, a
// third at a step of a ring, a third at any moment.
void KillEach(const char* test) {
  if (LiveAsChild()) return;
  const uint64_t kills = FromEnvironment("FARPAGE_KILLS", 9);
  const uint64_t seed = FromEnvironment("FARPAGE_SEED", NowNs());
  std::mt19937_64 random(seed);
  std::array<uint64_t, 2> reach = {12, 12};  // calls that a life makes, as far as that is known
  uint64_t killed = 0;
  for (uint64_t n = 0; n < kills; n++) {
    const uint64_t which = n % 3;
    const uint32_t calls = which == 1 ? uint32_t(kCallRing) : kCallsThatWrite;
    const uint64_t nth = which == 2 ? 0 : 1 + random() % reach[which];
    if (!KillAndLook(test, calls, nth, random())) continue;
    killed++;
    if (which != 2 && nth + 10 > reach[which]) reach[which] = nth + 10;
  }
  std::printf("%s: seed %llu, %llu of %llu lives were killed\n", test,
              static_cast<unsigned long long>(seed), static_cast<unsigned long long>(killed),
              static_cast<unsigned long long>(kills));
  CHECK(killed > 0);
}

}  // namespace

FARPAGE_TEST(killed_while_it_pulls_and_lets_its_source_go) {
  KillEach("killed_while_it_pulls_and_lets_its_source_go");
}

}  // namespace farpage::test
