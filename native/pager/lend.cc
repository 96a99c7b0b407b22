// READs of untouched pages of a fill value, answered from a constant page: to commit fresh memory
// takes several times as long as to answer, so it comes behind the answer.
#include <vector>

#include "pager/page_change.h"
#include "pager/pager.h"
#include "pager/pager_marks.h"
#include "pager/permit.h"

namespace farpage {
namespace {

// Null: no constant page of it.
const std::byte* ConstantOf(uint8_t fill_byte) {
  static const std::vector<std::byte> zeros(kPageBytes, std::byte{0x00});
  static const std::vector<std::byte> ones(kPageBytes, std::byte{0xff});
  switch (fill_byte) {
    case 0x00: return zeros.data();
    case 0xff: return ones.data();
    default: return nullptr;
  }
}

}  // namespace

// The page stays FILLING from here to Settle: a write of somebody else waits for the initialised
// page, so it is neither lost nor seen by an answer that came before it.
const std::byte* Pager::Lend(const std::shared_ptr<Region>& region, PageIndex page) {
  const PageWord word = region->table->Load(page);
  if (StateOf(word) != PageState::kAbsent || (word & kElsewhere) != 0) return nullptr;
  if (region->removed.load(std::memory_order_acquire)) return nullptr;
  const std::byte* constant = ConstantOf(region->store->fill_byte());
  const PageRun run{page, 1};
  // Where tables have taken the rest of memory, a page without them waits for its turn.
  if (budget_.tables() != 0 && budget_.used() >= budget_.max() &&
      !region->table->tables().HasWords(page)) {
    return nullptr;
  }
  if (constant == nullptr || !region->table->Reserve(run).ok() ||
      !MayHave(*region, page, kReadable) || Filler::Claim(*region, run) == 0) {
    return nullptr;
  }
  // Asked now that nobody else can write the page.
  const bool fills = !IsElsewhere(*region, page) &&
                     region->memory->OriginOf(run).origin == PageOrigin::kFill;
  if (!fills) {
    filler_.GiveUp(region, run, Code::kOk);
    return nullptr;
  }
  region->fills.lent_pages.fetch_add(1, std::memory_order_seq_cst);
  return constant;
}

// Only free frames are taken for it: the constant page answers the next READ as well, so nothing
// is pushed out of memory for it.
void Pager::Settle(const std::shared_ptr<Region>& region, PageIndex page) {
  const bool room = budget_.used() < LowMark(budget_.max()) &&
                    Filler::TryTakeFrames(*region, budget_, 1);
  if (room) {
    // Where there is no memory the page is absent again: what was answered is true all the same.
    (void)filler_.FillNow(region, {page, 1});
    // The use that it was filled for has been.
    region->table->ClearFlags(page, kUnused);
  } else {
    filler_.GiveUp(region, {page, 1}, Code::kOk);
    // The claim took tables, which nobody needs now.
    if (region->table->tables().has_emptied()) WakeReclaim();
  }
  region->fills.lent_pages.fetch_sub(1, std::memory_order_seq_cst);
}

// Who was answered may ask at once what is present: the turn that answered him goes on for as long
// as one page takes.
void Evictor::AwaitLent(const Region& region) {
  if (region.fills.lent_pages.load(std::memory_order_seq_cst) != 0) shootdown_.WaitGracePeriod();
}

}  // namespace farpage
