// Answers that go before their page is initialised.
#include <algorithm>

#include "fabric/responder.h"

namespace farpage {
namespace {

// Looks at a page before the failure of its fill is told: another loop may have lent it at the
// first one and have left it absent again since, which is no failure.
constexpr int kLendLooks = 3;

}  // namespace

// The constant bytes of an untouched page at `offset`; null: it has to be faulted in first.
const std::byte* Responder::Lend(Pending& pending, const MemoryRegion& target, uint64_t offset) {
  if (lent_count_ == kLentPagesMax) return nullptr;
  const PageIndex page = offset >> kPageShift;
  const std::byte* bytes = context_->pager->Lend(target.region, page);
  if (bytes == nullptr) return nullptr;
  pending.faulted = true;
  lent_[lent_count_++] = {target.region, page};
  return bytes + (offset & (kPageBytes - 1));
}

// The next page of a READ that found no memory: it is answered if its bytes are constant; else the
// READ ends with what the fill of this page ended with. Another page's says nothing about it: it
// may come out of a tier, or forbid to be read.
Responder::Step Responder::ServeLent(Pending& pending, const MemoryRegion& target,
                                     uint64_t offset, uint32_t bytes) {
  if (lent_count_ == kLentPagesMax) return Step::kAgain;
  const PageIndex page = offset >> kPageShift;
  const PageTable& table = *target.region->table;
  for (int looks = 0; looks < kLendLooks; looks++) {
    if (StateOf(table.Load(page)) != PageState::kAbsent) break;
    if (const std::byte* from = Lend(pending, target, offset); from != nullptr) {
      const uint64_t left = kPageBytes - (offset & (kPageBytes - 1));
      return EmitSegment(pending, target, from,
                         static_cast<uint32_t>(std::min<uint64_t>(bytes, left)));
    }
    if (target.region->table->tables().IsClosed(page)) return Step::kAgain;
  }
  if (pending.waits_for == page && StateOf(table.Load(page)) == PageState::kAbsent) {
    FailPending(pending, kTermLocal, pending.failed);
    return Step::kFailed;
  }
  // Somebody fills it just now and may have found a frame, or nobody has tried yet.
  uint64_t ready = 0;
  return Await(pending, target, {page, 1}, FaultKind::kRead, &ready);
}

void Responder::SettleLent() {
  while (lent_count_ != 0) {
    Lent& lent = lent_[--lent_count_];
    context_->pager->Settle(lent.region, lent.page);
    lent.region.reset();
  }
}

}  // namespace farpage
