#include "fabric/remote_store.h"

#include <algorithm>

#include "base/clock.h"
#include "fabric/remote_reader.h"

namespace farpage {

RemoteStore::RemoteStore(RemoteStoreOptions options)
    : length_bytes_(options.length_bytes),
      reader_(std::make_shared<RemoteReader>(std::move(options))),
      thread_("remote", [reader = reader_] { reader->Loop(); }) {}

RemoteStore::~RemoteStore() {
  reader_->Stop();
  thread_.JoinOrLeave();
}

void RemoteStore::Open(RemoteDoor door) { reader_->Open(std::move(door)); }
void RemoteStore::Refuse(const Error& error) { reader_->Refuse(error); }
void RemoteStore::EndReads() { reader_->EndReads(); }
bool RemoteStore::connected() const { return reader_->connected(); }

void RemoteStore::Start(PageRun run, std::byte* into, ReadDone done, bool background) {
  const uint64_t from = std::min(run.offset_bytes(), length_bytes_);
  // The last page's part beyond the region is zero already: its memory is fresh.
  const uint64_t end = std::min(from + run.length_bytes(), length_bytes_);
  const uint64_t now = NowNs();
  const uint64_t most = background ? kBackgroundReadBytesMax : kReadBytesMax;
  auto shared = std::make_shared<RemoteRun>();
  shared->done = [this, run, done = std::move(done)](Status read) {
    if (read.ok()) CountRead(run);
    done(read);
  };
  std::vector<RemoteRead> reads;
  for (uint64_t at = from; at < end; at += most) {
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(end - at, most));
    reads.push_back({shared, at, length, into + (at - from), now, background, 0});
  }
  shared->reads_left = static_cast<uint32_t>(reads.size());
  Error refused{Code::kRange, 0, "pages beyond the source"};
  if (!reads.empty() && reader_->Submit(std::move(reads), &refused)) return;
  shared->done(refused);
}

Status RemoteStore::Read(PageRun, std::byte*) {
  return Error{Code::kUnsupported, 0, "a remote store is read by StartRead"};
}

Status RemoteStore::Write(std::span<PageImage> images) {
  (void)images;
  return Error{Code::kUnsupported, 0, "a source is never written"};
}

}  // namespace farpage
