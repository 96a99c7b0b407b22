// RDMA Writes of a Responder: from the stream into region memory.
#include <algorithm>
#include <cstring>

#include "fabric/responder.h"
#include "memory/region_copy.h"

namespace farpage {

// The header of a WRITE segment: checks it, takes it from the buffer, starts the placement.
bool Responder::BeginWrite(const FpduHeader& header, const std::byte* fpdu) {
  // An earlier READ is answered with what was there before, as far as it need not wait; behind one
  // that is left to the next turn (PutsOffRead) it may see this WRITE (RFC 5040 section 5.5).
  if (count_ != 0 && send_.empty()) {
    Serve();
    SettleLent();  // this WRITE may be to one of them
  }
  if (state_ != State::kStreaming) return false;
  if (collected_ != nullptr && !collected_->lost && !GoesOn(header) && !PlacePart()) return false;
  std::memcpy(write_header_.data(), fpdu, kTaggedHeaderBytes);
  skip_ = header.trailer_bytes;
  const bool faulted = write_.faulted;
  const uint64_t before = write_.message_bytes;
  const bool names = header.payload_bytes != 0 || before == 0;
  write_ = {header.stag, header.payload_bytes, header.tagged_offset, header.last, faulted,
            before + header.payload_bytes, names ? header.stag : write_.counted};
  parsed_ += kTaggedHeaderBytes;
  if (collected_ != nullptr && !GoesOn(header)) {
    FailWrite(kTermLocal, Code::kPageLost);
    return false;
  }
  if (header.payload_bytes == 0) {
    // RFC 5041 section 5.2: a zero-length segment's STag and offset are not checked; this is also
    // the ready-to-receive of RFC 6581.
    write_.left = 0;
    if (before != 0) FinishSegment();
    return true;
  }
  const MemoryRegion* target = domain_->Find(header.stag);
  if (target == nullptr || target->removed()) {
    FailWrite(kTermWriteStag, target == nullptr ? Code::kStag : Code::kRegionRemoved);
    return false;
  }
  if (header.tagged_offset + header.payload_bytes < header.tagged_offset) {
    FailWrite(kTermWriteWrap, Code::kBounds);
    return false;
  }
  if (header.tagged_offset + header.payload_bytes > target->length_bytes) {
    FailWrite(kTermWriteBounds, Code::kBounds);
    return false;
  }
  if (!target->writable) {
    FailWrite(kTermReadAccess, Code::kAccess);  // RDMAP's "access rights", for Writes as well
    return false;
  }
  bulk_ = header.payload_bytes >= kDirectPayloadMin;
  return true;
}

// Makes the pages under [offset, + bytes) of a memory region dirty, faulting those that are not
// writable; returns how many bytes from the start may be written in this turn. 0: stalled,
// failed, or to be tried again.
uint32_t Responder::Writable(const MemoryRegion& target, uint64_t offset, uint32_t bytes) {
  if (target.region == nullptr) {
    StallAtRegion(target);
    return 0;
  }
  Region& region = *target.region;
  const uint64_t start = target.region_offset + offset;
  const PageRun run = PagesOf(start, bytes);
  PageIndex page = run.first;
  while (page < run.end()) {
    if (region.table->MarkDirty(page)) {
      write_failed_ = Code::kOk;  // somebody else's fill has succeeded meanwhile
      if ((region.table->Load(page) & kHeld) != 0) region.table->ClearFlags(page, kHeld);
      page++;
      continue;
    }
    if (page != run.first) break;
    // Somebody else's read has failed, or what this WRITE has begun.
    if (write_failed_ != Code::kOk && !Spares(target, page, offset)) {
      FailWrite(kTermLocal, write_failed_);
      return 0;
    }
    write_failed_ = Code::kOk;
    const PageState state = StateOf(region.table->Load(page));
    // A page that is there only lacks its permission back, which is no fault of initialisation.
    if (state != PageState::kPresent) write_.faulted = true;
    if (collected_ == nullptr && BringsAll(target, page, offset) &&
        context_->pager->TakesWhole(region, page)) {
      Collect(target, page, offset, false);
      return 0;
    }
    if (collected_ != nullptr && !collected_->partly && state == PageState::kAbsent) {
      const FaultOutcome put = context_->pager->Overwrite(target.region, page, collected_->page,
                                                          context_->waiter, token_);
      if (put.ready_pages != 0) continue;
      collected_->put = put.next == FaultOutcome::Next::kPending;
      StallWrite(target, page, put);
      return 0;
    }
    // Pages behind it are not read if it brings all of them.
    PageRun asked{page, 1};
    while (asked.count < run.count && !context_->pager->TakesWhole(region, asked.end())) {
      asked.count++;
    }
    const FaultOutcome outcome =
        context_->pager->Fault(target.region, asked, FaultKind::kWrite, context_->waiter, token_,
                               &stream_, context_->fills);
    if (outcome.ready_pages != 0) continue;
    const bool lost =
        outcome.next == FaultOutcome::Next::kFailed && outcome.code == Code::kPageLost;
    if (!lost || !Heal(target, page, offset)) StallWrite(target, page, outcome);
    return 0;
  }
  const uint64_t usable = (page << kPageShift) - start;
  return static_cast<uint32_t>(std::min<uint64_t>(bytes, usable));
}

// A page of the WRITE is not ready: waits for it, comes again, or fails.
void Responder::StallWrite(const MemoryRegion& target, PageIndex page,
                           const FaultOutcome& outcome) {
  if (outcome.next == FaultOutcome::Next::kPending) {
    if (stalled_page_ != page) Release(stalled_in_, stalled_page_);
    stalled_ = true;
    stalled_page_ = page;
    stalled_in_ = target.region;
    LookAhead();
  } else if (outcome.next == FaultOutcome::Next::kFailed) {
    FailWrite(outcome.code == Code::kAccess ? kTermReadAccess : kTermLocal, outcome.code);
  } else {
    again_ = true;
  }
}

// Whether the failure of a read that was waited for is none of this WRITE, which needs no read.
bool Responder::Spares(const MemoryRegion& target, PageIndex page, uint64_t offset) const {
  const bool brings = collected_ != nullptr ? !collected_->partly && !collected_->put
                                            : BringsAll(target, page, offset);
  return brings && context_->pager->TakesWhole(*target.region, page);
}

// Whether this WRITE brings all bytes of the page at `offset`, as far as is known: what this
// segment has not, the next ones of its message may have.
bool Responder::BringsAll(const MemoryRegion& target, PageIndex page, uint64_t offset) const {
  if (target.region_offset + offset != page << kPageShift) return false;
  return !write_.last || write_.left >= target.region->BytesIn({page, 1});
}

// The page's bytes are collected beside the region until they are all here, so that a WRITE which
// is cut off leaves the page as it is; then the pager gets them.
void Responder::Collect(const MemoryRegion& target, PageIndex page, uint64_t offset, bool lost) {
  collected_ = std::make_unique<Collected>();
  collected_->stag = write_.stag;
  collected_->offset = offset;
  collected_->lost = lost;
  collected_->page.resize(target.region->BytesIn({page, 1}));
  again_ = true;
}

// The page at `offset` is lost. True: this WRITE may make it well, if it brings all of it.
bool Responder::Heal(const MemoryRegion& target, PageIndex page, uint64_t offset) {
  if (collected_ == nullptr) {
    if (!BringsAll(target, page, offset)) return false;
    Collect(target, page, offset, true);
    return true;
  }
  if (collected_->partly) return false;
  StallWrite(target, page, context_->pager->Overwrite(target.region, page, collected_->page,
                                                      context_->waiter, token_));
  return true;
}

// Whether a segment may bring the next bytes of the page that is being collected.
bool Responder::GoesOn(const FpduHeader& header) const {
  if (header.payload_bytes == 0) return !header.last;
  return header.stag == collected_->stag &&
         header.tagged_offset == collected_->offset + collected_->got;
}

// Whether the WRITE ends within the page that is being collected, which has other bytes.
bool Responder::EndsWithin() const {
  return !collected_->lost && write_.last &&
         collected_->got + write_.left < collected_->page.size();
}

// It was not the whole page after all: the page is filled, and what has come of it is placed there.
// False: stalled, failed, or to be tried again.
bool Responder::PlacePart() {
  if (stalled_) return false;
  const MemoryRegion* target = domain_->Find(collected_->stag);
  if (target == nullptr || target->removed()) {
    FailWrite(kTermWriteStag, target == nullptr ? Code::kStag : Code::kRegionRemoved);
    return false;
  }
  collected_->partly = true;
  const uint32_t got = collected_->got;
  if (got != 0) {
    if (Writable(*target, collected_->offset, got) == 0) return false;
    std::byte* to =
        target->region->memory->address() + target->region_offset + collected_->offset;
    if (!CopyToRegion(to, collected_->page.data(), got)) {
      FailWrite(kTermLocal, Code::kPageLost);
      return false;
    }
  }
  collected_.reset();
  return true;
}

// The next bytes of a page that is being collected; how many are dealt with. The last of them are
// when the page has them all, so that what follows waits for it.
uint32_t Responder::PlaceCollected(const MemoryRegion& target, const std::byte* from,
                                   uint32_t bytes) {
  Collected& collected = *collected_;
  const auto whole = static_cast<uint32_t>(collected.page.size());
  const uint32_t now = std::min(whole - collected.got, bytes);
  std::memcpy(collected.page.data() + collected.got, from, now);
  if (collected.got + now < whole) {
    collected.got += now;
    return now;
  }
  if (Writable(target, collected.offset, whole) == 0) return 0;
  // Also where the pager has put them there: others may have written the page since.
  std::byte* to = target.region->memory->address() + target.region_offset + collected.offset;
  if (!CopyToRegion(to, collected.page.data(), whole)) {
    FailWrite(kTermLocal, Code::kPageLost);
    return 0;
  }
  collected_.reset();
  return now;
}

uint32_t Responder::PlaceHere(const MemoryRegion& target, const std::byte* from, uint32_t bytes) {
  const uint32_t now = Writable(target, write_.offset, bytes);
  if (now == 0) return 0;
  std::byte* to = target.region->memory->address() + target.region_offset + write_.offset;
  if (CopyToRegion(to, from, now)) return now;
  FailWrite(kTermLocal, Code::kPageLost);
  return 0;
}

// Places bytes that were received into the buffer. True: all of them.
bool Responder::Place(const std::byte* from, uint32_t bytes, uint32_t* placed) {
  *placed = 0;
  if (stalled_) return false;
  while (*placed < bytes) {
    const MemoryRegion* target = domain_->Find(write_.stag);
    if (target == nullptr || target->removed()) {
      FailWrite(kTermWriteStag, target == nullptr ? Code::kStag : Code::kRegionRemoved);
      return false;
    }
    if (collected_ != nullptr && EndsWithin()) {
      if (!PlacePart()) return false;
      continue;
    }
    const bool collects = collected_ != nullptr;
    const uint32_t now = collects ? PlaceCollected(*target, from + *placed, bytes - *placed)
                                  : PlaceHere(*target, from + *placed, bytes - *placed);
    if (now == 0 && !collects && collected_ != nullptr) continue;
    if (now == 0) return false;
    *placed += now;
    write_.left -= now;
    write_.offset += now;
    bytes_written_ += now;
    turn_bytes_ += now;
  }
  return true;
}

void Responder::FinishSegment() {
  if (collected_ != nullptr && write_.last) {  // it was not the whole page after all
    FailWrite(kTermLocal, Code::kPageLost);
    return;
  }
  looked_ahead_ = false;
  write_failed_ = Code::kOk;
  Release(stalled_in_, stalled_page_);
  if (!write_.last) return;
  const MemoryRegion* target = domain_->Find(write_.counted);
  if (target != nullptr && target->region != nullptr) {
    CountOperation(*target->region, write_.faulted, write_.message_bytes);
  }
  write_.faulted = false;
  write_.message_bytes = 0;
}

void Responder::FailWrite(TerminateCode code, Code reason) {
  collected_.reset();
  write_failed_ = Code::kOk;
  Terminate(code, reason, write_header_);
}

// The pages of a segment to come that it brings a part of, or that are not spared to be read.
void Responder::AskAhead(const MemoryRegion& target, const FpduHeader& header) {
  const uint64_t start = target.region_offset + header.tagged_offset;
  const uint64_t end = start + header.payload_bytes;
  const PageRun run = PagesOf(start, header.payload_bytes);
  PageRun asked{run.first, 0};
  const auto ask = [&] {
    if (asked.count == 0) return;
    (void)context_->pager->Fault(target.region, asked, FaultKind::kWrite, nullptr, 0, nullptr,
                                 context_->fills);
  };
  for (PageIndex page = run.first; page < run.end(); page++) {
    const uint64_t first = page << kPageShift;
    const bool begins = start <= first;
    const bool ends = !header.last || end >= first + target.region->BytesIn({page, 1});
    if (begins && ends && context_->pager->TakesWhole(*target.region, page)) {
      ask();
      asked = {page + 1, 0};
    } else {
      asked.count++;
    }
  }
  ask();
}

// While a WRITE waits for its page, the pages of the next whole FPDUs are asked for, once.
void Responder::LookAhead() {
  if (looked_ahead_) return;
  looked_ahead_ = true;
  const uint32_t behind = write_.left + skip_;
  if (available() < behind) return;
  uint32_t position = parsed_ + behind;
  for (uint32_t n = 0; n < kLookAheadMax && received_ - position >= kUntaggedHeaderBytes; n++) {
    const std::byte* fpdu = buffer_.get() + position;
    const std::span<const std::byte> rest{fpdu, received_ - position};
    FpduHeader header;
    if (DecodeFpduHeader(rest, &header).state != DecodeState::kDecoded) return;
    if (rest.size() < header.fpdu_bytes()) return;
    uint32_t stag = header.stag;
    uint64_t offset = header.tagged_offset;
    uint64_t bytes = header.payload_bytes;
    FaultKind kind = FaultKind::kWrite;
    if (header.opcode == RdmapOpcode::kReadRequest) {
      const ReadRequest read = DecodeReadRequest(fpdu + kUntaggedHeaderBytes);
      stag = read.source_stag;
      offset = read.source_offset;
      bytes = read.size_bytes;
      kind = FaultKind::kRead;
    } else if (header.opcode != RdmapOpcode::kWrite) {
      return;
    }
    const MemoryRegion* target = domain_->Find(stag);
    const bool within = target != nullptr && !target->removed() && bytes != 0 &&
                        offset <= target->length_bytes && bytes <= target->length_bytes - offset;
    if (within && target->region == nullptr) {
      AskAhead(*target, stalled_at_);
    } else if (within && kind == FaultKind::kWrite) {
      AskAhead(*target, header);
    } else if (within && WindowBytes(*target->region) != 0) {
      bytes = std::min(bytes, WindowBytes(*target->region));
      (void)context_->pager->Fault(target->region,
                                   PagesOf(target->region_offset + offset, bytes), kind, nullptr,
                                   0, nullptr, context_->fills);
    }
    position += header.fpdu_bytes();
  }
}

}  // namespace farpage
