// Two appliances in this process: one with dirty pages, and a pool at the other one for them.
#pragma once

#include <thread>

#include "appliance_fixture.h"
#include "check.h"
#include "fabric/remote_tier.h"
#include "quiet.h"

namespace farpage::test {

// A region of the other appliance, and the door to it.
class Pool {
 public:
  // `frames` of them fit there.
  explicit Pool(uint64_t pages, uint64_t frames = ApplianceOptions{}.frames_max)
      : appliance(Of(frames)), size_(pages << kPageShift) {
    stag_ = appliance.OpenAnonymous(size_, FillValueStore::Value::kZero);
  }

  [[nodiscard]] PoolDoor Door(bool fresh) const {
    PoolDoor door;
    door.remote.connect.path = appliance.socket_path;
    door.remote.connect.ask.ticket = appliance.ticket;
    door.remote.stag = stag_;
    door.length_bytes = size_;
    door.fresh = fresh;
    return door;
  }
  // Ends every connection; until Return nobody gets another.
  void GoAway() { appliance.nic->CloseDomain(appliance.domain); }
  void Return() {
    appliance.domain = std::make_shared<ProtectionDomain>(appliance.pager.shootdown(), 64);
    appliance.nic->AddTicket(appliance.ticket, appliance.domain, 60'000'000'000);
    auto registered = appliance.domain->Register(appliance.region, 0, size_, true);
    if (!registered.ok()) std::abort();
    stag_ = registered.value();
  }
  // Bytes of a page as they lie there now.
  std::byte* At(PageIndex page) {
    return appliance.region->memory->address() + (page << kPageShift);
  }

  Appliance appliance;

 private:
  static ApplianceOptions Of(uint64_t frames) {
    ApplianceOptions options;
    options.frames_max = frames;
    return options;
  }
  const uint64_t size_;
  uint32_t stag_ = 0;
};

// A tier over a pool, and what its questions for a door are answered with.
class PoolTier {
 public:
  explicit PoolTier(uint64_t capacity_bytes = 0, uint64_t deadline_ns = 5'000'000'000) {
    RemoteTierOptions options;
    options.pool = "the pool";
    options.capacity_bytes = capacity_bytes;
    options.deadline_ns = deadline_ns;
    options.need_door = [this] {
      const std::lock_guard<std::mutex> lock(mutex_);
      asked_ = true;
      Answer();
    };
    made_ = std::make_unique<RemoteTier>(std::move(options));
    const std::lock_guard<std::mutex> lock(mutex_);
    tier = made_.get();
    Answer();
  }

  // From now on; no door before this is called.
  void LetIn(const Pool& pool, bool fresh) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answer_ = [&pool, fresh](RemoteTier& to) { to.Open(pool.Door(fresh)); };
    Answer();
  }
  void KeepWaiting() {
    const std::lock_guard<std::mutex> lock(mutex_);
    answer_ = nullptr;
  }
  void Refuse(Code code) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answer_ = [code](RemoteTier& to) { to.Refuse({code, 0, "no door"}); };
    Answer();
  }
  bool AwaitState(RemotePool::State state) const {
    const uint64_t deadline = NowNs() + 20'000'000'000;
    while (tier->connection().state() != state && NowNs() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return tier->connection().state() == state;
  }
  // For the stack, once.
  std::unique_ptr<Tier> Take() { return std::move(made_); }

  RemoteTier* tier = nullptr;

 private:
  // Requires the lock.
  void Answer() {
    if (!asked_ || tier == nullptr || answer_ == nullptr) return;
    asked_ = false;
    answer_(*tier);
  }

  std::mutex mutex_;
  bool asked_ = false;
  std::function<void(RemoteTier&)> answer_;
  std::unique_ptr<RemoteTier> made_;
};

// The appliance with the dirty pages: `frames` of them fit, and the rest goes into the tiers.
class Spiller {
 public:
  static constexpr uint64_t kPages = 300;

  explicit Spiller(std::vector<std::unique_ptr<Tier>> levels, uint64_t frames = 24)
      : appliance(Settings(frames)) {
    appliance.UseTiers(std::move(levels));
    stag = appliance.OpenAnonymous(kPages << kPageShift, FillValueStore::Value::kZero);
    user_ = appliance.Connect();
  }

  static std::vector<std::byte> Bytes(PageIndex page, uint64_t version) {
    std::vector<std::byte> bytes(kPageBytes);
    for (size_t n = 0; n < bytes.size(); n++) {
      bytes[n] = static_cast<std::byte>(page * 31 + version * 7 + (n % 5) * n);
    }
    return bytes;
  }
  Code Put(PageIndex page, uint64_t version) {
    const auto bytes = Bytes(page, version);
    const Code code =
        Write(*user_, stag, page << kPageShift, bytes.data(), uint32_t(kPageBytes)).code;
    if (code != Code::kOk) user_ = appliance.Connect();
    return code;
  }
  // kOk: it holds what was put there; kInternal: other bytes.
  Code Find(PageIndex page, uint64_t version) {
    std::vector<std::byte> found(kPageBytes);
    const Code code =
        Read(*user_, stag, page << kPageShift, found.data(), uint32_t(kPageBytes)).code;
    if (code != Code::kOk) {
      user_ = appliance.Connect();
      return code;
    }
    return found == Bytes(page, version) ? Code::kOk : Code::kInternal;
  }
  // Its newest bytes are in a tier; what is on its way there may still come back.
  [[nodiscard]] bool IsInTier(PageIndex page) const {
    const PageWord word = appliance.region->table->Load(page);
    return StateOf(word) == PageState::kAbsent && (word & kElsewhere) != 0;
  }
  [[nodiscard]] std::vector<PageIndex> InTier(PageIndex end) const {
    std::vector<PageIndex> pages;
    for (PageIndex page = 0; page < end; page++) {
      if (IsInTier(page)) pages.push_back(page);
    }
    return pages;
  }

  Appliance appliance;
  uint32_t stag = 0;

 private:
  static ApplianceOptions Settings(uint64_t frames) {
    ApplianceOptions options;
    options.frames_max = frames;
    return options;
  }
  std::unique_ptr<Initiator> user_;
};

// Whether something becomes true within a bound.
template <typename Condition>
bool Becomes(Condition condition) {
  const uint64_t deadline = NowNs() + 20'000'000'000;
  while (!condition() && NowNs() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

inline std::vector<std::unique_ptr<Tier>> Only(std::unique_ptr<Tier> tier) {
  std::vector<std::unique_ptr<Tier>> levels;
  levels.push_back(std::move(tier));
  return levels;
}

}  // namespace farpage::test
