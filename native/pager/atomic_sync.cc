#include "pager/atomic_sync.h"

#include <algorithm>

#include "base/clock.h"
#include "base/crc32c.h"
#include "pager/dirty_pages.h"
#include "pager/harden.h"
#include "pager/page_change.h"
#include "pager/store_stands.h"

namespace farpage {
namespace {

JournalStore NameOf(const PageStore& store, uint64_t size_bytes) {
  const SinkFile sink = store.Sink();
  const StoreIdentity is = store.Identity();
  return {sink.path, is.device, is.inode, sink.offset_bytes, size_bytes};
}

// Changes the words of a member's unsafe pages.
template <typename Change>
void ChangeDirty(const AtomicSync::Member& member, Change change) {
  PageTable& table = *member.region->table;
  EachDirtyChunkPage(table, member.run.first, member.run.end(), [&](PageIndex page) {
    ChangePage(table, page, change);
    return true;
  });
}

uint64_t DirtyPages(const std::vector<AtomicSync::Member>& members) {
  uint64_t dirty = 0;
  for (const AtomicSync::Member& member : members) {
    dirty += std::min(member.region->table->dirty(), member.run.count);
  }
  return dirty;
}

// Of members whose memory outlives the process.
template <typename Each>
void EachOfFiles(const std::vector<AtomicSync::Member>& members, Each each) {
  for (const AtomicSync::Member& member : members) {
    MemoryFiles* const files = member.region->table->files();
    if (files != nullptr) each(*files, *member.region->store);
  }
}

}  // namespace

void AtomicSync::UseJournal(std::shared_ptr<JournalFolder> journal) {
  journal_ = std::move(journal);
  now_.store(journal_.get(), std::memory_order_release);
}

Status AtomicSync::Admit(PageStore& store, uint64_t size_bytes) {
  JournalFolder* const now = journal();
  if (now == nullptr || store.Sink().path.empty()) return {};
  return now->Admit(NameOf(store, size_bytes), store);
}

Result<AtomicReceipt> AtomicSync::RunLocked(const std::vector<Member>& members) {
  std::vector<std::unique_lock<std::mutex>> held;
  // In any order: nobody else waits for one of them while it holds another.
  for (const Member& member : members) held.push_back(WriteBack::Pause(*member.region));
  auto outcome = RunHeld(members);
  if (!outcome.ok()) return outcome;
  if (Status hard = HardenPulled(members); !hard.ok()) return hard.error();
  return outcome;
}

// What a pull has stored beside the pages of syncs.
Status AtomicSync::HardenPulled(const std::vector<Member>& members) {
  Status failure;
  for (const Member& member : members) {
    Status hard = Harden(*member.region, UnsyncedRuns(*member.region));
    if (failure.ok()) failure = hard;
  }
  return failure;
}

Result<AtomicReceipt> AtomicSync::RunHeld(const std::vector<Member>& members) {
  const uint64_t started = NowNs();
  AtomicReceipt receipt;
  receipt.members.resize(members.size());
  if (Status ready = Prepare(members); !ready.ok()) return ready.error();
  // Their pages are copied from where they are mapped.
  std::deque<RegionUse> uses;
  for (const Member& member : members) {
    const Status& mapped = uses.emplace_back(*member.region).status();
    if (!mapped.ok()) return mapped.error();
  }
  // What is committed must be applied, or abandoned by name: whether it can be comes first. Others
  // do not wait for the answer.
  std::vector<JournalStore> names;
  for (const Member& member : members) {
    if (Status stands = StoreStands(*member.region->store); !stands.ok()) return stands.error();
    names.push_back(NameOf(*member.region->store, member.region->size_bytes));
  }
  if (DirtyPages(members) == 0) return receipt;
  auto filled = Fill(members, names);
  JournalSegment* const segment = filled.ok() ? filled.value() : nullptr;
  if (filled.ok() && segment == nullptr) return receipt;
  Status outcome = filled.ok() ? Apply(members, segment, &receipt) : Status(filled.error());
  if (!outcome.ok()) {
    for (const Member& member : members) Settle(member, false);
  }
  if (segment != nullptr) journal_->Return(segment);
  if (!outcome.ok()) return outcome.error();
  for (WriteBackReceipt& member : receipt.members) member.elapsed_ns = NowNs() - started;
  return receipt;
}

// Whatever an earlier sync has left to do for these regions comes first.
Status AtomicSync::Prepare(const std::vector<Member>& members) {
  if (journal() == nullptr) return Error{Code::kUnsupported, 0, "there is no journal"};
  if (Status ended = journal_->EndEarlier(); !ended.ok()) return ended;
  for (const Member& member : members) {
    if (!member.region->atomic) {
      return Error{Code::kUnsupported, 0, "a region of the sync is not atomic"};
    }
    Status admitted = Admit(*member.region->store, member.region->size_bytes);
    if (!admitted.ok()) {
      Redirty(*member.region);
      return admitted;
    }
  }
  return {};
}

Result<JournalSegment*> AtomicSync::Fill(const std::vector<Member>& members,
                                         std::span<const JournalStore> names) {
  const std::lock_guard<std::mutex> one_at_a_time(fill_mutex_);
  if (Status pool = pool_.Open(); !pool.ok()) return pool.error();
  auto segment = journal_->Take();
  if (!segment.ok()) return segment;
  Journal& journal = *segment.value()->journal;
  auto any = FillJournal(members, names, journal);
  if (any.ok() && any.value()) return segment;
  journal_->Return(segment.value());
  if (!any.ok()) return any.error();
  return static_cast<JournalSegment*>(nullptr);
}

Result<bool> AtomicSync::FillJournal(const std::vector<Member>& members,
                                     std::span<const JournalStore> names, Journal& journal) {
  // Room is asked for first: without it nothing has happened, to the pages either.
  Status done = journal.Begin(names, DirtyPages(members), journal_->NextSequence());
  if (!done.ok()) return done.error();
  filling_ = &journal;
  Freeze(members);
  done = Collect(members);
  Unfreeze(members);
  if (done.ok() && journal.pages().empty()) {
    journal.GiveUp();
    return false;
  }
  if (done.ok()) {
    // Marked until the journal is free: until then a restart may write the stores once more.
    EachOfFiles(members, [](MemoryFiles& files, PageStore&) { files.BeginWrite(); });
    done = journal.Commit();
    if (done.ok()) return true;
    EachOfFiles(members, [](MemoryFiles& files, PageStore& store) {
      files.EndWrite(store.Identity());
    });
  }
  journal.GiveUp();
  return done.error();
}

void AtomicSync::Freeze(const std::vector<Member>& members) {
  uint32_t index = 0;
  for (const Member& member : members) {
    // What became dirty before a sync that this region was no part of, or before a restart.
    const PageWord now = epoch_.Now();
    ChangeDirty(member, [now](PageWord word) {
      return (word & kDirty) != 0 ? (word & ~kEpoch) | now : word;
    });
    FrozenRun& frozen = member.region->frozen;
    frozen.member.store(index++, std::memory_order_relaxed);
    frozen.first.store(member.run.first, std::memory_order_relaxed);
    frozen.end.store(std::min(member.run.end(), member.region->table->pages()),
                     std::memory_order_release);
  }
  epoch_.Flip();
  shootdown_.WaitGracePeriod();
  taking_.store(true, std::memory_order_release);
}

// No page is frozen any more: all were taken, or the sync does not want them.
void AtomicSync::Unfreeze(const std::vector<Member>& members) {
  for (const Member& member : members) {
    member.region->frozen.end.store(0, std::memory_order_release);
  }
  taking_.store(false, std::memory_order_release);
  // Turns that looked before may still be making images, which nobody takes any more.
  shootdown_.WaitGracePeriod();
  std::vector<ImagePool::Image> left;
  std::vector<ImagePool::Image> urgent;
  pool_.Drain(&left, &urgent);
  for (const ImagePool::Image& image : left) pool_.Return(image.slot);
  const PageWord now = epoch_.Now();
  for (const Member& member : members) {
    PageTable& table = *member.region->table;
    EachDirtyChunkPage(table, member.run.first, member.run.end(), [&](PageIndex page) {
      const PageWord before = ChangePage(table, page, [&](PageWord word) {
        return (word & kDirty) != 0 && (word & kEpoch) != now
                   ? (word & ~(kEpoch | kWaiters)) | now
                   : word;
      });
      const bool thawed = (before & kDirty) != 0 && (before & kEpoch) != now;
      if (thawed && (before & kWaiters) != 0) waiters_.WakeAll(member.region, page, Code::kOk);
      return true;
    });
  }
  pool_.Release();
}

// Claims a frozen page; 0 when it is none (any more).
PageWord AtomicSync::ClaimPage(Region& region, PageIndex page) {
  PageWord after = 0;
  const PageWord before = ChangePage(
      *region.table, page,
      [&](PageWord word) {
        if (StateOf(word) != PageState::kPresent || !region.table->Frozen(word)) return word;
        // Not WRITABLE: the next write asks for that right in place.
        return WithState(word & ~(kDirty | kWritable), PageState::kCopying) | kWriteback;
      },
      &after);
  return before != after ? after : 0;
}

void AtomicSync::Release(const std::shared_ptr<Region>& region, PageIndex page) {
  const PageWord before = ChangePage(*region->table, page, [](PageWord word) {
    return WithState(word & ~kWaiters, PageState::kPresent);
  });
  if ((before & kWaiters) != 0) waiters_.WakeAll(region, page, Code::kOk);
}

AtomicSync::Thawed AtomicSync::Thaw(const std::shared_ptr<Region>& region, PageIndex page) {
  PageWord word = region->table->Load(page);
  if (StateOf(word) != PageState::kPresent || !region->table->Frozen(word)) return Thawed::kReady;
  if (!region->frozen.Has(page)) {
    // Of no sync: it is dirty in this epoch as well as in the last.
    (void)region->table->Change(page, word, (word & ~kEpoch) | epoch_.Now());
    return Thawed::kReady;
  }
  // Looked at after the word: a turn that began before the instant keeps it from being over.
  if (!taking_.load(std::memory_order_acquire)) return Thawed::kAgain;
  const uint32_t member = region->frozen.member.load(std::memory_order_relaxed);
  uint32_t slot = 0;
  if (!pool_.Take(member, page, &slot)) return Thawed::kWait;
  if (ClaimPage(*region, page) == 0) {
    pool_.Return(slot);
    return Thawed::kReady;
  }
  const std::byte* from = region->memory->address() + (page << kPageShift);
  const uint32_t sum = CopyAndCrc32c(pool_.Bytes(slot), from, kPageBytes, 0);
  pool_.Put({member, page, slot, sum});
  images_.fetch_add(1, std::memory_order_relaxed);
  Release(region, page);
  return Thawed::kReady;
}

Status AtomicSync::Collect(const std::vector<Member>& members) {
  Status failure;
  uint32_t index = 0;
  for (const Member& member : members) {
    uint32_t taken = 0;
    PageTable& table = *member.region->table;
    EachDirtyChunkPage(table, member.run.first, member.run.end(), [&](PageIndex page) {
      const PageWord word = table.Load(page);
      if ((word & kDirty) != 0 && StateOf(word) == PageState::kLost) {
        failure = Error{Code::kPageLost, 0, "a dirty page was lost before it could be written"};
      } else if (table.Frozen(word)) {
        failure = TakePage(member, index, page);
        if (failure.ok() && ++taken % kPagesPerDrain == 0) failure = TakeImages(members);
      }
      return failure.ok();
    });
    if (!failure.ok()) return failure;
    index++;
  }
  // Every page is taken; the last images are on their way here.
  pool_.AwaitWriters();
  return TakeImages(members);
}

Status AtomicSync::TakePage(const Member& member, uint32_t index, PageIndex page) {
  if (ClaimPage(*member.region, page) == 0) return {};
  Journal& journal = *filling_;
  const std::byte* from = member.region->memory->address() + (page << kPageShift);
  const uint32_t sum = CopyAndCrc32c(journal.Slot(), from, kPageBytes, 0);
  Release(member.region, page);
  return journal.Add(index, page, sum);
}

// What writers made, and what they wait for.
Status AtomicSync::TakeImages(const std::vector<Member>& members) {
  std::vector<ImagePool::Image> images;
  std::vector<ImagePool::Image> urgent;
  pool_.Drain(&images, &urgent);
  Status failure;
  Journal& journal = *filling_;
  for (const ImagePool::Image& image : images) {
    if (failure.ok()) {
      std::copy_n(pool_.Bytes(image.slot), kPageBytes, journal.Slot());
      failure = journal.Add(image.member, image.page, image.checksum);
    }
    pool_.Return(image.slot);
  }
  for (const ImagePool::Image& wish : urgent) {
    if (failure.ok()) failure = TakePage(members[wish.member], wish.member, wish.page);
  }
  return failure;
}

// Brings a committed sync to its stores.
Status AtomicSync::Apply(const std::vector<Member>& members, JournalSegment* segment,
                         AtomicReceipt* receipt) {
  Journal& journal = *segment->journal;
  receipt->sequence = journal.sequence();
  std::vector<Status> written(members.size());
  Status outcome;
  for (uint32_t n = 0; n < members.size(); n++) {
    written[n] = journal.Apply(n, *members[n].region->store);
    if (written[n].ok()) continue;
    Redirty(*members[n].region);
    segment->unwritten.push_back(n);
    if (outcome.ok()) outcome = written[n];
  }
  for (const JournalPage& page : journal.pages()) {
    const Region& region = *members[page.store].region;
    receipt->members[page.store].pages_written++;
    receipt->members[page.store].bytes_written += region.BytesIn({page.page, 1});
  }
  Status finished = journal_->Finish(segment);
  if (outcome.ok()) outcome = finished;
  for (uint32_t n = 0; n < members.size(); n++) {
    Settle(members[n], written[n].ok());
    if (!written[n].ok()) continue;
    FillCounters& fills = members[n].region->fills;
    fills.written_back_pages.fetch_add(receipt->members[n].pages_written,
                                       std::memory_order_relaxed);
    fills.written_back_bytes.fetch_add(receipt->members[n].bytes_written,
                                       std::memory_order_relaxed);
  }
  if (!outcome.ok() && journal.committed()) return outcome;
  for (uint32_t n = 0; n < members.size(); n++) {
    MemoryFiles* files = members[n].region->table->files();
    if (files == nullptr || !written[n].ok()) continue;
    files->EndWrite(members[n].region->store->Identity());
  }
  return outcome;
}

// Pages that were taken are clean now, or dirty again.
void AtomicSync::Settle(const Member& member, bool written) {
  PageTable& table = *member.region->table;
  const PageWord now = epoch_.Now();
  ChangeDirty(member, [&](PageWord word) {
    if ((word & kWriteback) == 0) return word;
    const PageWord rest = (word & ~kWriteback) | (written ? kStored : 0);
    if (written || (rest & kDirty) != 0) return rest;
    return (rest & ~kEpoch) | kDirty | now;
  });
  TidySummary(table, member.run.first, member.run.end());
}

}  // namespace farpage
