// What one region keeps in the tiers.
#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "os/drop_pages.h"
#include "stores/tier_stack.h"

namespace farpage {
namespace {

using Guard = std::lock_guard<std::mutex>;

uint32_t SumOf(const std::byte* page) { return Crc32c(0, {page, kPageBytes}); }

}  // namespace

RegionTiers::~RegionTiers() {
  for (uint64_t chunk = held_.Next(0); chunk < held_.chunks(); chunk = held_.Next(chunk + 1)) {
    const PageIndex end = std::min((chunk + 1) * kSummaryPages, entry_count_);
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

uint64_t RegionTiers::unreachable_pages() const {
  uint64_t count = 0;
  for (size_t tier = 0; tier < stack_->size(); tier++) {
    if (!stack_->tiers_[tier]->reachable()) count += pages(tier);
  }
  return count;
}

bool RegionTiers::asks_peers() const {
  const auto& tiers = stack_->tiers_;
  return std::any_of(tiers.begin(), tiers.end(), [](const auto& each) {
    return each->starts_gets();
  });
}

Status RegionTiers::Fetch(const Entry& from, std::byte* into) const {
  if (from.none()) return Error{Code::kPageLost, 0, "no tier has the page"};
  return Verify(from, into, stack_->tiers_[from.tier()]->Get(from.slot(), into));
}

Status RegionTiers::Verify(const Entry& from, const std::byte* bytes, Status got) const {
  TierStack::Counters& counters = stack_->levels_[from.tier()].counters;
  if (got.ok() && SumOf(bytes) != from.checksum) {
    got = Error{Code::kPageLost, 0, "a page came back from its tier with another checksum"};
  }
  if (!got.ok() && got.error().code == Code::kTierAway) return got;  // it may come back
  (got.ok() ? counters.loaded : counters.lost).fetch_add(1, std::memory_order_relaxed);
  return got;
}

bool RegionTiers::Pin(PageIndex page, Entry* found) {
  const Guard guard(entry_locks_[page % kLocks]);
  Entry& at = entry(page);
  if (at.none() || !stack_->tiers_[at.tier()]->starts_gets()) return false;
  at.version = NextVersion();
  *found = at;
  return true;
}

// It stays, and may move on again: it is the youngest now.
void RegionTiers::Unpin(PageIndex page, const Entry& pinned) {
  stack_->Arrive(pinned.tier(), shared_from_this(), page, pinned.version);
}

void RegionTiers::EndTake(PageIndex page, const Entry& pinned, const Status& got) {
  if (!got.ok()) {
    Unpin(page, pinned);
    return;
  }
  const Guard guard(entry_locks_[page % kLocks]);
  Drop(page);
}

bool RegionTiers::StartTake(PageIndex page, std::byte* into, TierDone done) {
  Entry pinned;
  if (!Pin(page, &pinned)) return false;
  stack_->tiers_[pinned.tier()]->StartGet(
      pinned.slot(), into, [this, page, pinned, into, done = std::move(done)](const Status& read) {
        const Status got = Verify(pinned, into, read);
        EndTake(page, pinned, got);
        done(got);  // the region, and this with it, may go as soon as it heard
      });
  return true;
}

// Takes the entry away and gives its slot back. Requires its locks.
void RegionTiers::Drop(PageIndex page) {
  Entry& at = entry(page);
  if (at.none()) return;
  stack_->tiers_[at.tier()]->Free(at.slot());
  pages_[at.tier()].fetch_sub(1, std::memory_order_relaxed);
  Put(page, Entry{});
}

void RegionTiers::Put(PageIndex page, const Entry& to) {
  const uint64_t number = page * sizeof(Entry) >> kPageShift;
  const uint64_t counts_at = EntryPages(entry_count_) << kPageShift;
  Count& count = reinterpret_cast<Count*>(entries_.data() + counts_at)[number];
  const Guard guard(count_locks_[number % kLocks]);
  entry(page) = to;
  if (!to.none()) {
    if (count++ != 0) return;
    table_pages_.fetch_add(1, std::memory_order_relaxed);
    if (budget_ != nullptr) budget_->TakeTables(1);
    return;
  }
  if (--count != 0) return;
  // None of them is looked at without reading zeros, before and after.
  iovec range{entries_.data() + (number << kPageShift), kPageBytes};
  DropPages({&range, 1});
  table_pages_.fetch_sub(1, std::memory_order_relaxed);
  if (budget_ != nullptr) budget_->ReturnTables(1);
}

Status RegionTiers::Load(PageIndex page, std::byte* into) {
  for (Entry pinned;;) {
    if (Pin(page, &pinned)) {
      const Status got = Fetch(pinned, into);
      Unpin(page, pinned);
      return got;
    }
    const Guard device(device_locks_[page % kLocks]);
    {
      const Guard guard(entry_locks_[page % kLocks]);
      const Entry found = entry(page);
      if (found.none() || stack_->tiers_[found.tier()]->gets_in_place()) {
        return Fetch(found, into);
      }
      if (stack_->tiers_[found.tier()]->starts_gets()) continue;  // it went there just now
    }
    // Only who has the first lock moves pages out of such a tier.
    return Fetch(Read(page), into);
  }
}

Status RegionTiers::Take(PageIndex page, std::byte* into) {
  for (Entry pinned;;) {
    if (Pin(page, &pinned)) {
      const Status got = Fetch(pinned, into);
      EndTake(page, pinned, got);
      return got;
    }
    const Guard device(device_locks_[page % kLocks]);
    const Entry found = Read(page);
    const bool in_place = !found.none() && stack_->tiers_[found.tier()]->gets_in_place();
    if (!found.none() && stack_->tiers_[found.tier()]->starts_gets()) continue;  // just now
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

Status RegionTiers::FetchInPlace(PageIndex page, std::byte* into) const {
  const Entry found = entry(page);
  if (!found.none() && !stack_->tiers_[found.tier()]->gets_in_place()) {
    return Error{Code::kUnsupported, 0, "the page is on a device"};
  }
  return Fetch(found, into);
}

Status RegionTiers::LoadInPlace(PageIndex page, std::byte* into) {
  const Guard guard(entry_locks_[page % kLocks]);
  return FetchInPlace(page, into);
}

Status RegionTiers::TakeInPlace(PageIndex page, std::byte* into) {
  const Guard guard(entry_locks_[page % kLocks]);
  if (Status got = FetchInPlace(page, into); !got.ok()) return got;
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
  // A move of older bytes must not be taken for one of these.
  to.version = NextVersion();
  Put(page, to);
  held_.Set(page);
  pages_[to.tier()].fetch_add(1, std::memory_order_relaxed);
  stack_->Arrive(to.tier(), shared_from_this(), page, to.version);
}

void RegionTiers::Store(std::span<OverlayPage> pages) {
  std::vector<TierPage> moving;
  std::vector<OverlayPage*> left;
  for (OverlayPage& page : pages) {
    if (page.outcome.ok()) left.push_back(&page);
  }
  for (size_t tier = 0; tier < stack_->size() && !left.empty(); tier++) {
    moving.clear();
    for (const OverlayPage* page : left) moving.push_back({page->bytes, 0, {}});
    stack_->Put(tier, moving);
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
  std::unique_lock<std::mutex> device(device_locks_[page % kLocks]);
  *found = Read(page);
  if (found->none() || found->version != version) return false;
  Tier& tier = *stack_->tiers_[found->tier()];
  // What becomes of the page while a peer is asked, the end of the move finds out.
  if (tier.starts_gets()) device.unlock();
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
  pages_[found.tier()].fetch_sub(1, std::memory_order_relaxed);
  pages_[below].fetch_add(1, std::memory_order_relaxed);
  at = Entry{Entry::At(below, slot), at.checksum, NextVersion()};
  stack_->Arrive(below, shared_from_this(), page, at.version);
  return true;
}

}  // namespace farpage
