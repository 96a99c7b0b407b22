#include "pager/pager.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "pager/lost_pages.h"
#include "pager/page_change.h"
#include "pager/permit.h"

namespace farpage {
namespace {

PageWord RightFor(FaultKind kind) { return kind == FaultKind::kRead ? kReadable : kWritable; }

bool Usable(const Region& region, PageWord word, FaultKind kind) {
  if (kind == FaultKind::kRead) return (word & kReadable) != 0;
  return (word & kWritable) != 0 && !region.table->Frozen(word);
}

}  // namespace

Pager::Pager(const Options& options)
    : shared_budget_(std::make_shared<FrameBudget>(std::max<uint64_t>(options.frames_max, 1))),
      budget_(*shared_budget_),
      read_ahead_pages_max_(options.read_ahead_pages_max),
      use_tick_ns_(std::max<uint64_t>(options.use_tick_ns, 1)),
      evictor_(shootdown_, budget_, waiters_),
      write_back_(shootdown_, waiters_, budget_),
      atomic_sync_(shootdown_, waiters_),
      indicators_(shootdown_, evictor_),
      pinning_(evictor_, budget_.max()),
      filler_(budget_, evictor_, waiters_, [this] { Press(); }, options.fill_threads),
      prefetcher_(budget_, evictor_, filler_, write_back_, [this] { WakeReclaim(); }),
      account_(std::make_shared<AllocationAccount>(options.allocated_bytes_max)),
      allocator_({[this](std::shared_ptr<Region> region) { AddRegion(std::move(region)); },
                  [this](const std::function<void()>& work) { evictor_.WhileIdle(work); },
                  options.mapped_bytes_max}),
      reclaim_("reclaim", [this] { ReclaimLoop(); }),
      clock_("clock", [this] { ClockLoop(); }) {}

Pager::~Pager() { Close(); }

void Pager::Close() {
  allocator_.Close();
  {
    std::lock_guard<std::mutex> lock(reclaim_mutex_);
    closing_ = true;
  }
  reclaim_wake_.notify_all();
  clock_wake_.notify_all();
  reclaim_.Join();
  clock_.Join();
  prefetcher_.Close();
  filler_.Close();
  write_hints_.Close();
  write_back_.Close();
  atomic_sync_.Close();
}

void Pager::RemoveRegion(const std::shared_ptr<Region>& region) {
  region->removed.store(true, std::memory_order_seq_cst);
  evictor_.Remove(region.get());
  region->store->EndReads();
  while (region->jobs.load(std::memory_order_seq_cst) != 0) {
    const timespec nap{0, 100'000};
    ::nanosleep(&nap, nullptr);
  }
  budget_.Return(region->frames.used());
  region->table->CountDirtyIn(nullptr);
  region->Discard();
  budget_.ReturnTables(region->table->tables().charged());
}

void Pager::EndReservation(const std::shared_ptr<Reservation>& reservation) {
  const std::shared_ptr<Region> early = reservation->region();
  if (early != nullptr) early->removed.store(true, std::memory_order_seq_cst);
  allocator_.End(reservation);
  pinning_.End(*reservation->pins);
  // Sessions keep the reservation for their STags, but not what it was for.
  const std::shared_ptr<Region> region = reservation->TakeRegion();
  if (region == nullptr) return;
  RemoveRegion(region);
  if (reservation->account != nullptr) reservation->account->Return(reservation->size_bytes);
}

FaultOutcome Pager::Fault(const std::shared_ptr<Region>& region, PageRun run, FaultKind kind,
                          FaultWaiter* waiter, uint64_t token, ReadAheadStream* stream,
                          FillQueue* fills) {
  FaultOutcome outcome;
  auto* polled = static_cast<PolledFills*>(fills);
  if (kind == FaultKind::kWrite && !region->writable) {
    outcome.next = FaultOutcome::Next::kFailed;
    outcome.code = Code::kAccess;
    return outcome;
  }
  uint64_t in_place_left = kInPlacePagesMax;
  PageIndex page = run.first;
  bool noted = kind == FaultKind::kRead;
  while (page < run.end()) {
    if (Usable(*region, region->table->Load(page), kind)) {
      page++;
      continue;
    }
    const PageRun rest{page, run.end() - page};
    if (!std::exchange(noted, true)) write_hints_.Note(region, rest);
    const bool absent = StateOf(region->table->Load(page)) == PageState::kAbsent;
    const Step step =
        Resolve(region, rest, kind, page == run.first ? waiter : nullptr, token, polled,
                &in_place_left, &outcome.code);
    if (stream != nullptr) stream->writes = kind == FaultKind::kWrite;
    if (stream != nullptr && absent) Follow(region, rest, step == Step::kPending, stream);
    if (step == Step::kReady) continue;  // look at the word again
    outcome.ready_pages = page - run.first;
    outcome.next = step == Step::kAgain     ? FaultOutcome::Next::kAgain
                   : step == Step::kPending ? FaultOutcome::Next::kPending
                                            : FaultOutcome::Next::kFailed;
    return outcome;
  }
  outcome.ready_pages = run.count;
  return outcome;
}

void Pager::AddRegion(std::shared_ptr<Region> region) {
  // Pages of an atomic region stay where a sync takes them: in memory. Those of one that may be
  // written behind go to its store.
  const bool spills = region->writable && !region->atomic && !region->write_behind &&
                      region->table->files() == nullptr;
  if (tiers_ != nullptr && spills) {
    // Without room for the entries its dirty pages stay in memory, as without tiers.
    if (auto overlay = tiers_->Attach(region->table->pages(), shared_budget_);
        overlay.ok()) {
      region->overlay = std::move(overlay).value();
    }
  }
  region->device = region->store->Identity().device;
  if (region->overlay != nullptr || region->write_behind) region->table->KeepTrials();
  region->sticks = region->writable && !region->write_behind && region->overlay == nullptr;
  if (region->sticks) region->table->CountDirtyIn(budget_.stuck_count());
  if (region->atomic) region->table->Follow(&atomic_sync_.epoch());
  region->table->Follow(&use_clock_);
  region->table->tables().ChargeTo(budget_);
  const uint64_t adopted = region->table->present();
  region->frames.Take(adopted);
  // At the start its memory was charged as a whole, before anybody could look at its words.
  const MemoryFiles* const files = region->table->files();
  const uint64_t charged = files == nullptr ? 0 : files->charged_pages();
  budget_.Take(adopted - std::min(adopted, charged));
  budget_.Return(charged - std::min(adopted, charged));
  evictor_.Add(std::move(region));
  if (adopted != 0) WakeReclaim();
}

// Whether one more dirty page would be one too many: of those that nothing takes, here or within
// the bound of its region. Who reads needs some frames to take turns in.
bool Pager::WouldStick(const Region& region) const {
  if (!region.sticks) return false;
  return budget_.stuck() >= budget_.stuck_max() ||
         region.table->dirty_here() >= region.frames.stuck_max();
}

// Tables have taken all, and the page would need another one.
bool Pager::LacksTables(Region& region, PageIndex page) {
  if (!full_of_tables_.load(std::memory_order_relaxed) || !budget_.IsFullOfTables() ||
      region.table->tables().HasWords(page)) {
    return false;
  }
  WakeReclaim();
  return true;
}

Pager::Step Pager::Resolve(const std::shared_ptr<Region>& region, PageRun rest, FaultKind kind,
                           FaultWaiter* waiter, uint64_t token, PolledFills* fills,
                           uint64_t* in_place_left, Code* code) {
  const PageIndex page = rest.first;
  PageWord word = region->table->Load(page);
  switch (StateOf(word)) {
    case PageState::kAbsent: {
      if (region->removed.load(std::memory_order_acquire)) {
        *code = Code::kRegionRemoved;
        return Step::kFailed;
      }
      if (Status room = region->table->Reserve(rest); !room.ok()) {
        *code = room.error().code;
        return Step::kFailed;
      }
      if (LacksTables(*region, page) || (kind == FaultKind::kWrite && WouldStick(*region))) {
        *code = Code::kMemoryFull;
        return Step::kFailed;
      }
      const uint64_t permitted =
          Protection::View(*region->protection).Permitted(rest, RightFor(kind));
      if (permitted == 0) {
        *code = Code::kAccess;
        return Step::kFailed;
      }
      const uint64_t claimed = Filler::Claim(*region, {page, permitted});
      if (claimed == 0) {
        // Its tables are just being given back, or somebody else was faster: look again.
        return region->table->tables().IsClosed(page) ? Step::kAgain : Step::kReady;
      }
      const uint64_t done = FillInPlace(region, {page, claimed}, kind, in_place_left);
      if (done == claimed) return Step::kReady;
      // Registered before the fill can end: a failure is told to who waits, and to nobody else.
      if (done == 0) (void)Await(*region, page, kind, waiter, token);
      const PageRun later{page + done, claimed - done};
      region->fills.demands.fetch_add(1, std::memory_order_relaxed);
      if (!HandOver(region, later, kind == FaultKind::kWrite, fills)) return Step::kAgain;
      return done == 0 ? Step::kPending : Step::kReady;
    }
    case PageState::kPresent:
      if (Usable(*region, word, kind)) return Step::kReady;
      if (!MayHave(*region, page, RightFor(kind))) {
        *code = Code::kAccess;
        return Step::kFailed;
      }
      if (kind == FaultKind::kWrite && region->table->Frozen(word)) {
        switch (atomic_sync_.Thaw(region, page)) {
          case AtomicSync::Thawed::kReady: return Step::kReady;
          case AtomicSync::Thawed::kAgain: return Step::kAgain;
          case AtomicSync::Thawed::kWait: break;
        }
        return Await(*region, page, kind, waiter, token) ? Step::kPending : Step::kReady;
      }
      if (kind == FaultKind::kWrite && region->sticks && (word & kUnsafe) == 0) {
        // One by one, each when the one before is dirty and counts; who only asks ahead gets none.
        if (waiter == nullptr) return Step::kPending;
        if (WouldStick(*region)) {
          region->table->ClearFlags(page, kHeld);
          *code = Code::kMemoryFull;
          return Step::kFailed;
        }
      }
      Permit(*region, page, word, RightFor(kind));
      return Step::kReady;
    case PageState::kFilling:
    case PageState::kEvicting:
    case PageState::kCopying:
      region->fills.demands.fetch_add(1, std::memory_order_relaxed);
      return Await(*region, page, kind, waiter, token) ? Step::kPending : Step::kReady;
    case PageState::kLost:
      // A clean page may be tried again: its file may have come back. A dirty one is gone.
      if ((word & kUnsafe) != 0) break;
      (void)region->table->Change(page, word, WithState(word, PageState::kAbsent));
      return Step::kReady;
  }
  *code = Code::kPageLost;
  return Step::kFailed;
}

void Pager::Lose(const std::shared_ptr<Region>& region, PageRun run) {
  LoseUnreadable(*region, budget_, run);
}

// Starts the fill of a claimed run; false: not now, the run is absent again.
bool Pager::HandOver(const std::shared_ptr<Region>& region, PageRun run, bool to_write,
                     PolledFills* fills) {
  // Tiers are read by threads that may wait.
  if (IsElsewhere(*region, run.first)) {
    if (filler_.Submit(region, run, to_write)) return true;
    filler_.GiveUp(region, run, Code::kOk);
    return false;
  }
  bool begun = false;
  while (run.count != 0) {
    const PagesFrom from = region->memory->OriginOf(run);
    const PageRun part{run.first, std::min(from.pages, run.count)};
    if (!HandOverPart(region, part, to_write, from.origin, fills)) {
      filler_.GiveUp(region, run, Code::kOk);
      return begun;
    }
    begun = true;
    run = {part.end(), run.count - part.count};
  }
  return true;
}

bool Pager::HandOverPart(const std::shared_ptr<Region>& region, PageRun run, bool to_write,
                         PageOrigin origin, PolledFills* fills) {
  if (origin == PageOrigin::kRemote) {
    // A peer is asked from here: a hand-over would only delay it.
    if (!Filler::TryTakeFrames(*region, budget_, run.count)) {
      return filler_.Submit(region, run, to_write);
    }
    filler_.FillElsewhere(region, run);
    return true;
  }
  // The device begins here and now, before any thread has been woken: one or two threads that
  // then wait for the reads in order do as much as sixteen that each start their own.
  region->memory->StartRead(run);
  if (fills != nullptr && region->memory->polls_reads() &&
      Filler::TryTakeFrames(*region, budget_, run.count)) {
    if (fills->Add(region, run, to_write)) return true;
    Filler::ReturnFrames(*region, budget_, run.count);
  }
  return filler_.Submit(region, run, to_write);
}

uint64_t Pager::FillInPlace(const std::shared_ptr<Region>& region, PageRun claimed,
                            FaultKind kind, uint64_t* in_place_left) {
  WakeReclaim();
  if (*in_place_left == 0) return 0;
  if (IsElsewhere(*region, claimed.first)) {
    return TakeInPlace(region, {claimed.first, std::min(claimed.count, *in_place_left)},
                       in_place_left);
  }
  const uint64_t count = std::min({claimed.count, *in_place_left,
                                   region->memory->PopulatesInPlace(claimed)});
  if (count == 0 || !Filler::TryTakeFrames(*region, budget_, count)) return 0;
  *in_place_left -= count;
  // A failure makes the pages absent again: the caller looks, claims anew and, with nothing left
  // to do in place, hands over, so that it hears of the failure as everybody does.
  const bool to_write = kind == FaultKind::kWrite;
  if (!filler_.FillNow(region, {claimed.first, count}, to_write).ok()) *in_place_left = 0;
  return count;
}

// The part of a claimed run that a tier in memory has, as far as it is wanted now.
uint64_t Pager::TakeInPlace(const std::shared_ptr<Region>& region, PageRun run,
                            uint64_t* in_place_left) {
  // Room in a private mapping may have to be read from its file first.
  if (region->memory->has_private_copies()) return 0;
  if (!Filler::TryTakeFrames(*region, budget_, run.count)) return 0;
  Status status;
  const uint64_t done = 
      filler_.FillFromOverlay(region, run, Filler::FromOverlay::kInPlace, &status);
  *in_place_left -= done;
  if (done != run.count) Filler::ReturnFrames(*region, budget_, run.count - done);
  return done;
}

bool Pager::Await(Region& region, PageIndex page, FaultKind kind, FaultWaiter* waiter,
                  uint64_t token) {
  // Who only starts fills does not wait, but must not be told to look again either.
  if (waiter == nullptr) return true;
  return waiters_.Add(&region, page, waiter, token, [&] {
    PageWord word = region.table->Load(page);
    for (;;) {
      const PageState state = StateOf(word);
      const bool moving = state == PageState::kFilling || state == PageState::kEvicting ||
                          state == PageState::kCopying ||
                          (kind == FaultKind::kWrite && region.table->Frozen(word));
      if (!moving || Usable(region, word, kind)) return false;
      if ((word & kWaiters) != 0) return true;
      if (region.table->Change(page, word, word | kWaiters)) return true;
    }
  });
}

}  // namespace farpage
