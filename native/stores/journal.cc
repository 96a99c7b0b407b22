#include "stores/journal.h"

#include <algorithm>
#include <cstring>

namespace farpage {
namespace {

using journal_format::ChunkHead;
using journal_format::Head;
using journal_format::kChunkPagesMax;
using journal_format::Mend;
using journal_format::PageEntry;
using journal_format::StoreEntry;
using journal_format::StoresHead;
using journal_format::StreamEnd;
using journal_format::StreamStart;
using journal_format::Sum;

// Bytes of one image handed to a store, at most.
constexpr uint64_t kImageBytesMax = 1u << 20;

uint64_t ChunkBytes() { return kPageBytes * (1 + kChunkPagesMax); }
uint64_t RoundUp(uint64_t bytes) { return (bytes + kPageBytes - 1) & ~(kPageBytes - 1); }

template <typename Block>
Block Peek(const std::byte* from) {
  Block block;
  std::memcpy(&block, from, sizeof(Block));
  return block;
}

const Error kDamaged{Code::kIo, 0, "a committed sync in the journal is damaged"};
const Error kNoHead{Code::kIo, 0, "no head of the journal can be read"};
const Error kLost{Code::kIo, 0, "a head of the journal and the sync behind it are gone"};

bool IsZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::Open(std::unique_ptr<JournalFile> file,
                                               uint64_t* damaged_at, bool begun) {
  std::unique_ptr<Journal> journal(new Journal(std::move(file)));
  journal->buffer_.resize(ChunkBytes());
  Head newest{};
  if (Status heads = journal->ReadHeads(begun, &newest); !heads.ok()) {
    // Not one that the device reports: that is no damage of the journal's own.
    const bool damaged = heads.error().code == Code::kIo && heads.error().system_errno == 0;
    if (damaged && damaged_at != nullptr) *damaged_at = 0;
    return heads.error();
  }
  if (Status stream = journal->ReadStream(newest, damaged_at); !stream.ok()) {
    return stream.error();
  }
  return journal;
}

Status Journal::ReadHeads(bool begun, Head* newest) {
  int found = 0;
  int whole = 0;  // or torn by a crash, which leaves what all heads begin with
  for (uint64_t slot = 0; slot < 2; slot++) {
    Head head{};
    uint64_t got = 0;
    Status read = file_->Read(slot * kPageBytes,
                              {reinterpret_cast<std::byte*>(&head), sizeof(head)}, &got);
    if (!read.ok()) return read;
    // The first head has the second place, so a file that is shorter was cut.
    if (begun && slot == 1 && got < sizeof(head)) return kNoHead;
    const bool fits = Mend(&head);
    whole += head.magic == journal_format::kMagic ? 1 : 0;
    if (head.magic != journal_format::kMagic || !fits) continue;
    if (head.format < journal_format::kFormatOldest || head.format > journal_format::kFormat ||
        head.page_bytes != kPageBytes) {
      return Error{Code::kStateVersion, 0, "the journal is of another version or page size"};
    }
    if (found++ == 0 || head.serial > newest->serial) *newest = head;
  }
  serial_ = newest->serial;
  sequence_ = newest->sequence;
  marked_ = newest->format == journal_format::kFormat;
  // The first one has a place of its own, so from the second on there are two.
  doubtful_ = whole < 2 && serial_ != 1;
  if (found != 0) return {};
  return begun ? Status(kNoHead) : ReadBlank();
}

// No head, and no sync is known to have begun. So it is new, or the first head, which is that of
// the second page, was being written, or it is of the first format, which wrote its first sync
// before.
Status Journal::ReadBlank() {
  buffer_.assign(buffer_.size(), std::byte{0});
  if (auto loaded = Load(0, 0, StreamStart() + kPageBytes); !loaded.ok()) return loaded.error();
  const std::span<const std::byte> bytes(buffer_);
  const size_t behind = kPageBytes + sizeof(Head);
  const bool blank = IsZero(bytes.first(kPageBytes)) &&
                     IsZero(bytes.subspan(behind, StreamStart() - behind));
  const auto first = Peek<StoresHead>(buffer_.data() + StreamStart());
  const bool later = first.mark == journal_format::kStoresMark && first.sequence != 1;
  return blank && !later ? Status() : Status(kNoHead);
}

// Reads into the buffer behind its first `skip` bytes; false: the file ends before.
Result<bool> Journal::Load(uint64_t at, uint64_t skip, uint64_t bytes) {
  if (buffer_.size() < skip + bytes) buffer_.resize(skip + bytes);
  uint64_t got = 0;
  Status read = file_->Read(at + skip, {buffer_.data() + skip, bytes}, &got);
  if (!read.ok()) return read.error();
  return got == bytes;
}

Status Journal::ReadStream(const Head& newest, uint64_t* damaged_at) {
  const bool must = newest.committed != 0;
  uint64_t at = StreamStart();
  auto found = ReadStores(must ? newest.sequence : newest.sequence + 1, &at);
  while (found.ok() && found.value() == Found::kPart) found = ReadNext(&at);
  if (!found.ok() && !must) return found.error();
  const bool complete = found.ok() && found.value() == Found::kEnd &&
                        (!must || (sequence_ == newest.sequence && at == newest.stream_bytes));
  if (complete) return Settle(at);
  // What is incomplete never happened; its number is not used again. But a head that is gone may
  // have called it committed, and where it begins something stands since the first sync.
  const bool blank = at == StreamStart() && IsZero(std::span(buffer_).first(kPageBytes));
  const bool lost = newest.serial != 0 && doubtful_ && found.ok() && blank;
  sequence_ = std::max(sequence_, newest.sequence);
  Forget();
  if (!must && !lost) return {};
  if (damaged_at != nullptr) *damaged_at = at;
  return must ? kDamaged : kLost;
}

Result<Journal::Found> Journal::ReadStores(uint64_t sequence_min, uint64_t* at) {
  auto loaded = Load(*at, 0, kPageBytes);
  if (!loaded.ok()) return loaded.error();
  if (!loaded.value()) return Found::kNothing;
  const auto head = Peek<StoresHead>(buffer_.data());
  if (head.mark != journal_format::kStoresMark || head.sequence < sequence_min ||
      head.stores > kJournalStoresMax || head.bytes > ChunkBytes() * 2) {
    return Found::kNothing;
  }
  const uint64_t bytes = RoundUp(sizeof(head) + head.bytes);
  if (bytes > kPageBytes) {
    loaded = Load(*at, kPageBytes, bytes - kPageBytes);
    if (!loaded.ok()) return loaded.error();
    if (!loaded.value()) return Found::kNothing;
  }
  const std::span<const std::byte> rest{buffer_.data() + sizeof(head), head.bytes};
  if (head.checksum != Sum(head, rest)) return Found::kNothing;
  uint64_t position = 0;
  for (uint32_t n = 0; n < head.stores; n++) {
    if (rest.size() - position < sizeof(StoreEntry)) return Found::kNothing;
    const auto entry = Peek<StoreEntry>(rest.data() + position);
    position += sizeof(entry);
    if (rest.size() - position < entry.path_bytes) return Found::kNothing;
    stores_.push_back({{reinterpret_cast<const char*>(rest.data() + position), entry.path_bytes},
                       entry.device, entry.inode, entry.offset_bytes, entry.size_bytes});
    position += entry.path_bytes;
  }
  sequence_ = head.sequence;
  Chain(head.checksum);
  *at += bytes;
  return Found::kPart;
}

// A chunk, or the end of the stream; `at` is behind it then, and where the damage is otherwise.
Result<Journal::Found> Journal::ReadNext(uint64_t* at) {
  auto loaded = Load(*at, 0, kPageBytes);
  if (!loaded.ok()) return loaded.error();
  if (!loaded.value()) return Found::kNothing;
  const auto end = Peek<StreamEnd>(buffer_.data());
  if (end.mark != journal_format::kEndMark) return ReadChunk(at);
  const bool fits = end.sequence == sequence_ && end.checksum == Sum(end) &&
                    end.chunks == chunks_ && end.pages == pages_.size() && end.chain == chain_;
  if (!fits) return Found::kNothing;
  *at += kPageBytes;
  return Found::kEnd;
}

Result<Journal::Found> Journal::ReadChunk(uint64_t* at) {
  const auto head = Peek<ChunkHead>(buffer_.data());
  if (head.mark != journal_format::kChunkMark || head.sequence != sequence_ ||
      head.index != chunks_ || head.pages == 0 || head.pages > kChunkPagesMax) {
    return Found::kNothing;
  }
  const std::span<const std::byte> entries{buffer_.data() + sizeof(head),
                                           head.pages * sizeof(PageEntry)};
  if (head.checksum != Sum(head, entries)) return Found::kNothing;
  auto loaded = Load(*at, kPageBytes, head.pages * kPageBytes);
  if (!loaded.ok()) return loaded.error();
  if (!loaded.value()) return Found::kNothing;
  for (uint32_t n = 0; n < head.pages; n++) {
    const auto entry = Peek<PageEntry>(buffer_.data() + sizeof(head) + n * sizeof(PageEntry));
    const uint64_t skip = (1 + n) * kPageBytes;
    if (entry.store >= stores_.size() ||
        entry.checksum != Crc32c(0, {buffer_.data() + skip, kPageBytes})) {
      *at += skip;
      return Found::kNothing;
    }
    pages_.push_back({entry.store, entry.page, *at + skip});
  }
  Chain(head.checksum);
  chunks_++;
  *at += (1 + head.pages) * kPageBytes;
  return Found::kPart;
}

// A complete stream is there, whether it was read or written.
Status Journal::Settle(uint64_t stream_bytes) {
  auto mapping = file_->Map(stream_bytes);
  if (!mapping.ok()) {
    Forget();
    return mapping.error();
  }
  mapping_ = std::move(mapping).value();
  stream_bytes_ = stream_bytes;
  std::sort(pages_.begin(), pages_.end(), [](const JournalPage& a, const JournalPage& b) {
    return a.store != b.store ? a.store < b.store : a.page < b.page;
  });
  state_ = State::kCommitted;
  void_ = false;
  return {};
}

void Journal::Chain(uint32_t checksum) {
  chain_ = Crc32c(chain_, {reinterpret_cast<const std::byte*>(&checksum), sizeof(checksum)});
}

void Journal::Forget() {
  state_ = State::kIdle;
  stores_.clear();
  pages_.clear();
  mapping_.Reset();
  chunks_ = 0;
  chain_ = 0;
  filled_ = 0;
}

Status Journal::WriteHead(bool committed, uint64_t stream_bytes) {
  Head head{journal_format::kMagic, journal_format::kFormat, static_cast<uint32_t>(kPageBytes),
            serial_ + 1, sequence_, stream_bytes, committed ? 1u : 0u, 0};
  head.checksum = Sum(head);
  Status written = file_->Write((head.serial % 2) * kPageBytes,
                                {reinterpret_cast<const std::byte*>(&head), sizeof(head)});
  if (!written.ok()) return written;
  serial_++;
  Status durable = file_->MakeDurable();
  marked_ = marked_ || durable.ok();
  return durable;
}

Status Journal::Begin(std::span<const JournalStore> stores, uint64_t pages_max,
                      uint64_t sequence) {
  if (stores.size() > kJournalStoresMax) {
    return Error{Code::kQuota, 0, "too many regions in one sync"};
  }
  const uint64_t chunks = (pages_max + kChunkPagesMax - 1) / kChunkPagesMax;
  const uint64_t bytes = StreamStart() + 2 * ChunkBytes() + (chunks + pages_max + 1) * kPageBytes;
  if (Status room = file_->Reserve(bytes); !room.ok()) return room;
  // What was given up must not be found complete one day, among parts of this sync or alone.
  if (!marked_) void_ = false;
  if (Status emptied = MakeVoid(); !emptied.ok()) return emptied;
  if (tell_begun_) {
    if (Status told = tell_begun_(); !told.ok()) return told;
    tell_begun_ = nullptr;
  }
  sequence_ = std::max(sequence_ + 1, sequence);
  stores_.assign(stores.begin(), stores.end());
  state_ = State::kFilling;
  stream_bytes_ = StreamStart();
  Status begun = WriteStores();
  if (!begun.ok()) GiveUp();
  return begun;
}

Status Journal::WriteStores() {
  std::vector<std::byte> block(sizeof(StoresHead));
  const auto append = [&block](const void* bytes, size_t count) {
    const auto* from = static_cast<const std::byte*>(bytes);
    block.insert(block.end(), from, from + count);
  };
  for (const JournalStore& store : stores_) {
    const StoreEntry entry{store.device, store.inode, store.offset_bytes, store.size_bytes,
                           static_cast<uint32_t>(store.path.size()), 0};
    append(&entry, sizeof(entry));
    append(store.path.data(), store.path.size());
  }
  StoresHead head{journal_format::kStoresMark, sequence_, static_cast<uint32_t>(stores_.size()),
                  static_cast<uint32_t>(block.size() - sizeof(StoresHead)), 0, 0};
  head.checksum = Sum(head, std::span(block).subspan(sizeof(head)));
  std::memcpy(block.data(), &head, sizeof(head));
  block.resize(RoundUp(block.size()));
  Chain(head.checksum);
  Status written = file_->Write(stream_bytes_, block);
  stream_bytes_ += block.size();
  return written;
}

std::byte* Journal::Slot() const {
  return const_cast<std::byte*>(buffer_.data()) + (1 + filled_) * kPageBytes;
}

Status Journal::Add(uint32_t store, PageIndex page, uint32_t checksum) {
  const PageEntry entry{page, store, checksum};
  std::memcpy(buffer_.data() + sizeof(ChunkHead) + filled_ * sizeof(entry), &entry,
              sizeof(entry));
  filled_++;
  pages_.push_back({store, page, stream_bytes_ + filled_ * kPageBytes});
  return filled_ == kChunkPagesMax ? WriteChunk() : Status();
}

Status Journal::WriteChunk() {
  ChunkHead head{journal_format::kChunkMark, sequence_, chunks_, filled_, 0, 0};
  head.checksum = Sum(head, {buffer_.data() + sizeof(head), filled_ * sizeof(PageEntry)});
  std::memcpy(buffer_.data(), &head, sizeof(head));
  Chain(head.checksum);
  const uint64_t bytes = (1 + filled_) * kPageBytes;
  if (Status written = file_->Write(stream_bytes_, {buffer_.data(), bytes}); !written.ok()) {
    return written;
  }
  file_->StartWriting(stream_bytes_, bytes);
  stream_bytes_ += bytes;
  chunks_++;
  filled_ = 0;
  return {};
}

Status Journal::Commit() {
  if (filled_ != 0) {
    if (Status written = WriteChunk(); !written.ok()) return written;
  }
  StreamEnd end{journal_format::kEndMark, sequence_, pages_.size(), chunks_, chain_, 0, 0};
  end.checksum = Sum(end);
  std::vector<std::byte> block(kPageBytes);
  std::memcpy(block.data(), &end, sizeof(end));
  // One that failed may be there all the same.
  void_ = false;
  if (Status written = file_->Write(stream_bytes_, block); !written.ok()) return written;
  if (Status durable = file_->MakeDurable(); !durable.ok()) return durable;
  if (Status said = WriteHead(true, stream_bytes_ + kPageBytes); !said.ok()) return said;
  return Settle(stream_bytes_ + kPageBytes);
}

void Journal::GiveUp() {
  Forget();
  (void)MakeVoid();
}

Status Journal::MakeVoid() {
  if (void_) return {};
  Status written = WriteHead(false, 0);
  void_ = written.ok();
  return written;
}

Status Journal::Apply(uint32_t store, PageStore& to) {
  const auto of_store = [store](const JournalPage& page) { return page.store == store; };
  const auto first = std::find_if(pages_.begin(), pages_.end(), of_store);
  const auto last = std::find_if_not(first, pages_.end(), of_store);
  if (first == last) return {};
  const uint64_t size = stores_[store].size_bytes;
  std::vector<PageImage> images;
  for (auto page = first; page != last; ++page) {
    const uint64_t offset = page->page << kPageShift;
    if (offset >= size) return Error{Code::kIo, 0, "the journal has a page behind its region"};
    const uint64_t bytes = std::min(kPageBytes, size - offset);
    if (!images.empty() && images.back().run.end() == page->page &&
        images.back().bytes + images.back().length_bytes == Bytes(*page) &&
        images.back().length_bytes + bytes <= kImageBytesMax) {
      images.back().run.count++;
      images.back().length_bytes += bytes;
    } else {
      images.push_back({{page->page, 1}, Bytes(*page), bytes, {}});
    }
  }
  if (Status attempted = to.Write(images); !attempted.ok()) return attempted;
  for (const PageImage& image : images) {
    if (!image.outcome.ok()) return image.outcome;
  }
  return to.MakeDurable();
}

Status Journal::Retire() {
  if (Status retired = WriteHead(false, 0); !retired.ok()) return retired;
  void_ = true;
  const bool large = stream_bytes_ > keep_bytes_;
  Forget();
  // A hint that the next sync does not rely on: what is behind the head is nobody's now.
  if (large) (void)file_->Shrink(StreamStart());
  return {};
}

}  // namespace farpage
