// What one region keeps in the tiers.
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "stores/tier_stack.h"

namespace farpage {
namespace {

using Guard = std::lock_guard<std::mutex>;

uint32_t SumOf(const std::byte* page) { return Crc32c(0, {page, kPageBytes}); }

}  // namespace

RegionTiers::~RegionTiers() {
  for (uint64_t chunk = held_.Next(0); chunk < held_.chunks(); chunk = held_.Next(chunk + 1)) {
    const PageIndex end = std::min((chunk + 1) * kSummaryPages, entries_.size() / sizeof(Entry));
    for (PageIndex page = chunk * kSummaryPages; page < end; page++) Forget(page);
  }
}

RegionTiers::Entry RegionTiers::Read(PageIndex page) const {
  const Guard guard(entry_locks_[page % kLocks]);
  return entry(page);
}

size_t RegionTiers::TierOf(PageIndex page) const {
  const Entry found = Read(page);
  return found.none() ? kTiersMax : found.tier();
}

Status RegionTiers::Fetch(const Entry& from, std::byte* into) const {
  if (from.none()) return Error{Code::kPageLost, 0, "no tier has the page"};
  TierStack::Counters& counters = stack_->levels_[from.tier()].counters;
  Status got = stack_->tiers_[from.tier()]->Get(from.slot(), into);
  if (got.ok() && SumOf(into) != from.checksum) {
    got = Error{Code::kPageLost, 0, "a page came back from its tier with another checksum"};
  }
  (got.ok() ? counters.loaded : counters.lost).fetch_add(1, std::memory_order_relaxed);
  return got;
}

// Takes the entry away and gives its slot back. Requires its locks.
void RegionTiers::Drop(PageIndex page) {
  Entry& at = entry(page);
  if (at.none()) return;
  stack_->tiers_[at.tier()]->Free(at.slot());
  // The version stays: a move of the old bytes must not be taken for one of the next.
  at = Entry{0, 0, at.version + 1};
  pages_.fetch_sub(1, std::memory_order_relaxed);
}

Status RegionTiers::Load(PageIndex page, std::byte* into) {
  const Guard device(device_locks_[page % kLocks]);
  {
    const Guard guard(entry_locks_[page % kLocks]);
    const Entry found = entry(page);
    if (found.none() || stack_->tiers_[found.tier()]->gets_in_place()) {
      return Fetch(found, into);
    }
  }
  // Only who has the first lock moves pages out of such a tier.
  return Fetch(Read(page), into);
}

Status RegionTiers::Take(PageIndex page, std::byte* into) {
  const Guard device(device_locks_[page % kLocks]);
  for (;;) {
    const Entry found = Read(page);
    const bool in_place = !found.none() && stack_->tiers_[found.tier()]->gets_in_place();
    if (!in_place) {
      if (Status got = Fetch(found, into); !got.ok()) return got;
    }
    const Guard guard(entry_locks_[page % kLocks]);
    // It may have gone down from memory to a device in between, which needs this lock only.
    if (in_place && entry(page).where != found.where) continue;
    if (in_place) {
      if (Status got = Fetch(entry(page), into); !got.ok()) return got;
    }
    Drop(page);
    return {};
  }
}

Status RegionTiers::TakeInPlace(PageIndex page, std::byte* into) {
  const Guard guard(entry_locks_[page % kLocks]);
  const Entry found = entry(page);
  if (!found.none() && !stack_->tiers_[found.tier()]->gets_in_place()) {
    return Error{Code::kUnsupported, 0, "the page is on a device"};
  }
  if (Status got = Fetch(found, into); !got.ok()) return got;
  Drop(page);
  return {};
}

void RegionTiers::Forget(PageIndex page) {
  const Guard device(device_locks_[page % kLocks]);
  const Guard guard(entry_locks_[page % kLocks]);
  Drop(page);
}

void RegionTiers::Set(PageIndex page, Entry to) {
  const Guard guard(entry_locks_[page % kLocks]);
  Entry& at = entry(page);
  FARPAGE_CHECK(at.none(), "a page comes into the tiers once");
  to.version = at.version + 1;
  at = to;
  held_.Set(page);
  pages_.fetch_add(1, std::memory_order_relaxed);
  stack_->Arrive(to.tier(), shared_from_this(), page, to.version);
}

void RegionTiers::Store(std::span<OverlayPage> pages) {
  std::vector<TierPage> moving;
  std::vector<OverlayPage*> left;
  for (OverlayPage& page : pages) left.push_back(&page);
  for (size_t tier = 0; tier < stack_->size() && !left.empty(); tier++) {
    moving.clear();
    for (const OverlayPage* page : left) moving.push_back({page->bytes, 0, {}});
    stack_->tiers_[tier]->Put(moving);
    std::vector<OverlayPage*> refused;
    for (size_t n = 0; n < left.size(); n++) {
      left[n]->outcome = moving[n].outcome;
      if (!moving[n].outcome.ok()) {
        refused.push_back(left[n]);
        continue;
      }
      Set(left[n]->page, Entry{Entry::At(tier, moving[n].slot), SumOf(left[n]->bytes), 0});
      stack_->levels_[tier].counters.stored.fetch_add(1, std::memory_order_relaxed);
    }
    stack_->Press(tier);
    left.swap(refused);
  }
}

bool RegionTiers::BeginDemotion(PageIndex page, uint32_t version, std::byte* buffer,
                                Entry* found) {
  const Guard device(device_locks_[page % kLocks]);
  *found = Read(page);
  if (found->none() || found->version != version) return false;
  Tier& tier = *stack_->tiers_[found->tier()];
  if (!tier.gets_in_place()) return tier.Get(found->slot(), buffer).ok();
  const Guard guard(entry_locks_[page % kLocks]);
  if (entry(page).version != version) return false;
  return tier.Get(found->slot(), buffer).ok();
}

bool RegionTiers::EndDemotion(PageIndex page, const Entry& found, TierSlot slot) {
  const Guard device(device_locks_[page % kLocks]);
  const Guard guard(entry_locks_[page % kLocks]);
  Entry& at = entry(page);
  const size_t below = found.tier() + 1;
  if (at.version != found.version) {
    stack_->tiers_[below]->Free(slot);  // taken or changed meanwhile
    return false;
  }
  stack_->tiers_[found.tier()]->Free(at.slot());
  at = Entry{Entry::At(below, slot), at.checksum, at.version + 1};
  stack_->Arrive(below, shared_from_this(), page, at.version);
  return true;
}

}  // namespace farpage
