#include "model_run.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "environment.h"
#include "pool_fixture.h"
#include "quiet.h"

namespace farpage::test {
namespace {

std::vector<std::byte> FileBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> all{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::byte> bytes(all.size());
  std::memcpy(bytes.data(), all.data(), all.size());
  return bytes;
}

// Uses what is cut off until it is gone, and after that meets errors: none of our business here
// but that they are errors, and of this client alone.
void UseWhatIsCutOff(Appliance& appliance, uint32_t stag, const ModelRun& run, uint64_t seed,
                     const std::atomic<bool>& stop) {
  Random random(seed);
  std::unique_ptr<Initiator> initiator;
  std::vector<std::byte> bytes(20'000);
  while (!stop.load()) {
    if (initiator == nullptr) initiator = appliance.Connect(false, Below(random, 2) == 0, 8);
    if (initiator == nullptr) continue;
    const uint64_t length = 1 + Below(random, bytes.size());
    const uint64_t room = run.size_bytes - run.truncated_bytes - length;
    const uint64_t offset = run.truncated_bytes + Below(random, room);
    const bool writes = Below(random, 2) == 0;
    const Completion completion =
        writes ? Write(*initiator, stag, offset, bytes.data(), uint32_t(length))
               : Read(*initiator, stag, offset, bytes.data(), uint32_t(length));
    CHECK(completion.code != Code::kTimeout && completion.code != Code::kInternal);
    if (completion.code != Code::kOk) initiator.reset();
  }
}

void CompareWithModel(const ModelLayout& layout, const std::vector<std::byte>& found,
                      const std::vector<std::unique_ptr<ModelClient>>& clients) {
  std::vector<std::byte> want = layout.bytes;
  uint64_t checked = 0;
  for (size_t which = 0; which < layout.shared.size(); which++) {
    uint64_t added = 0;
    uint64_t locked = 0;
    for (const auto& client : clients) {
      if (which < client->added().size()) added += client->added()[which];
      if (which < client->locked().size()) locked += client->locked()[which];
    }
    std::memcpy(want.data() + layout.shared[which], &added, 8);
    std::memcpy(want.data() + layout.shared[which] + 16, &locked, 8);
    checked += added + locked;
  }
  CHECK(checked > 0);
  REQUIRE(found.size() >= want.size());
  const auto [a, b] = std::mismatch(want.begin(), want.end(), found.begin());
  if (a != want.end()) {
    Fail(__FILE__, __LINE__, "wrong byte at " + std::to_string(a - want.begin()) + ": " +
                                 std::to_string(int(*b)) + " is not " + std::to_string(int(*a)));
  }
}

}  // namespace

void RunModel(const ModelRun& run) {
  const uint64_t seed =
      FromEnvironment("FARPAGE_SEED", static_cast<uint64_t>(NowNs() / 1000 % 1'000'000'007));
  const uint64_t rounds = FromEnvironment("FARPAGE_ROUNDS", run.rounds);
  std::printf("FARPAGE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  Random random(seed);
  ApplianceOptions options;
  options.frames_max = run.frames;
  options.nic_threads = 1 + uint32_t(Below(random, 2));
  options.read_ahead_pages = uint32_t(Below(random, 3)) * 8;
  options.window_bytes = Below(random, 2) == 0 ? kPageBytes : 256 * 1024;
  std::unique_ptr<Pool> pool;
  std::unique_ptr<PoolTier> door;
  if (run.everything) {
    pool = std::make_unique<Pool>(4096);
    door = std::make_unique<PoolTier>(0, 60'000'000'000);
    door->LetIn(*pool, true);
    REQUIRE(door->AwaitState(RemotePool::State::kOpen));
  }
  Appliance appliance(options);
  if (run.everything) {
    // Each is full soon, so that pages go all the way down and come back from everywhere.
    std::vector<std::unique_ptr<Tier>> levels;
    if (auto made = CompressedTier::Create(32 << kPageShift); made.ok()) {
      levels.push_back(std::move(made).value());
    }
    if (auto made = SpillTier::Open(appliance.folder.File("."), 300 << kPageShift); made.ok()) {
      levels.push_back(std::move(made).value());
    }
    levels.push_back(door->Take());
    appliance.UseTiers(std::move(levels));
  } else if (run.default_spill) {
    appliance.UseDefaultSpill();
  } else if (run.tiers) {
    appliance.UseTiers(32, 4096);
  }
  const uint64_t used = run.truncated_bytes != 0 ? run.truncated_bytes : run.size_bytes;
  std::vector<std::byte> fill(run.size_bytes);
  if (run.file) {
    for (std::byte& byte : fill) byte = static_cast<std::byte>(random());
  }
  const std::vector<std::byte> tail(fill.begin() + static_cast<std::ptrdiff_t>(used), fill.end());
  fill.resize(used);
  ModelLayout layout(used, run.clients, random, std::move(fill));
  std::string path;
  uint32_t stag = 0;
  if (run.file) {
    path = appliance.folder.File("data");
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(layout.bytes.data()), std::streamsize(used));
    out.write(reinterpret_cast<const char*>(tail.data()), std::streamsize(tail.size()));
    out.close();
    stag = run.atomic ? appliance.OpenAtomicFile(path)
                      : appliance.OpenFile(path, true, run.write_behind);
  } else {
    stag = appliance.OpenAnonymous(run.size_bytes, FillValueStore::Value::kZero);
  }

  std::vector<std::unique_ptr<ModelClient>> clients;
  for (uint32_t n = 0; n < run.clients; n++) {
    clients.push_back(
        std::make_unique<ModelClient>(appliance, layout, stag, n, seed, run.rules));
  }
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> fine{0};
  std::vector<std::thread> threads;
  for (const auto& client : clients) {
    threads.emplace_back([&, raw = client.get()] {
      if (raw->Run(rounds)) fine++;
    });
  }
  std::vector<std::thread> others;
  const bool cuts = run.truncated_bytes != 0;
  others.emplace_back([&] { Disturb(appliance, path, seed + 1, run, stop); });
  if (cuts) {
    others.emplace_back([&] { UseWhatIsCutOff(appliance, stag, run, seed + 2, stop); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(::truncate(path.c_str(), static_cast<off_t>(run.truncated_bytes)) == 0);
  }
  for (std::thread& thread : threads) thread.join();
  stop.store(true);
  for (std::thread& other : others) other.join();
  CHECK_EQ(fine.load(), run.clients);
  uint64_t operations = 0;
  uint64_t retries = 0;
  for (const auto& client : clients) {
    operations += client->operations();
    retries += client->retries();
  }
  std::printf("%llu operations, %llu repeated batches, %llu pages evicted\n",
              static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(retries),
              static_cast<unsigned long long>(appliance.pager.evicted_pages()));

  if (!run.file) {
    auto initiator = appliance.Connect();
    std::vector<std::byte> found(used);
    CHECK_EQ(int(Read(*initiator, stag, 0, found.data(), uint32_t(used)).code), int(Code::kOk));
    CompareWithModel(layout, found, clients);
    initiator.reset();
    CheckQuiet(appliance);
    return;
  }
  const auto synced = appliance.Sync();
  CHECK(synced.ok() || cuts);
  const auto found = FileBytes(path);
  // A pwrite that the kernel lets wait behind the truncation makes the file longer again, and
  // nothing can forbid it that; what lies before the cut is what counts.
  CHECK(cuts ? found.size() >= used : found.size() == used);
  CompareWithModel(layout, found, clients);
  if (!cuts) CHECK_EQ(appliance.region->table->dirty(), 0u);
  CheckQuiet(appliance);
  if (!cuts) CHECK_EQ(appliance.region->table->present(), 0u);
}

}  // namespace farpage::test
