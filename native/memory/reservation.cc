#include "memory/reservation.h"

#include <map>

namespace farpage {

Status Reservation::Allocate(RangeKeeper* ranges) {
  if (account != nullptr && !account->TryTake(size_bytes)) {
    return Error{Code::kQuota, 0, "bytes of allocated regions"};
  }
  auto opened = open_();
  if (!opened.ok()) {
    if (account != nullptr) account->Return(size_bytes);
    return opened.error();
  }
  opened.value()->reservation = weak_from_this();
  opened.value()->ranges = ranges;
  opened.value()->pins = pins;
  std::lock_guard<std::mutex> lock(mutex_);
  region_ = std::move(opened).value();
  return {};
}

Result<uint32_t> Reservation::Enter(
    std::weak_ptr<TranslationUser> user,
    const std::function<Result<uint32_t>(const std::shared_ptr<Region>&)>& enter) {
  std::lock_guard<std::mutex> lock(lead_mutex_);
  if (ended_) return Error{Code::kRegionRemoved, 0, "register"};
  auto stag = enter(leads_to_);
  if (!stag.ok()) return stag;
  // Each user once, however often it registers something.
  const auto same = user.lock();
  std::erase_if(users_, [&](const auto& weak) {
    const auto live = weak.lock();
    return live == nullptr || live == same;
  });
  users_.push_back(std::move(user));
  return stag;
}

void Reservation::Tell(const Translation& change) {
  for (const auto& weak : users_) {
    if (const auto user = weak.lock()) user->Lead({&change, 1});
  }
}

void Reservation::Lead(const std::shared_ptr<Region>& region) {
  std::lock_guard<std::mutex> lock(lead_mutex_);
  leads_to_ = region;
  Tell({this, region, false});
}

void Reservation::LeadNowhere(std::span<const std::shared_ptr<Reservation>> reservations) {
  // Whoever else takes such a lock takes one and no more, so these may be taken in any order.
  std::vector<std::unique_lock<std::mutex>> locks;
  std::map<std::shared_ptr<TranslationUser>, std::vector<Translation>> changes;
  for (const auto& reservation : reservations) {
    locks.emplace_back(reservation->lead_mutex_);
    reservation->leads_to_ = nullptr;
    for (const auto& weak : reservation->users_) {
      if (auto user = weak.lock()) changes[user].push_back({reservation.get(), nullptr, false});
    }
  }
  for (const auto& [user, those] : changes) user->Lead(those);
}

void Reservation::End() {
  std::lock_guard<std::mutex> lock(lead_mutex_);
  ended_ = true;
  leads_to_ = nullptr;
  Tell({this, nullptr, true});
}

}  // namespace farpage
