// Answers that go before their page is initialised.
#include "fabric/responder.h"

namespace farpage {

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

void Responder::SettleLent() {
  while (lent_count_ != 0) {
    Lent& lent = lent_[--lent_count_];
    context_->pager->Settle(lent.region, lent.page);
    lent.region.reset();
  }
}

}  // namespace farpage
