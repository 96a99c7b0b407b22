#include "stores/callback_store.h"

#include "stores/callback_queue.h"

namespace farpage {

CallbackStore::CallbackStore(CallbackStoreOptions options)
    : takes_writes_(options.takes_writes),
      queue_(std::make_shared<CallbackQueue>(std::move(options))),
      thread_("callback", [queue = queue_] { queue->Watch(); }) {}

CallbackStore::~CallbackStore() {
  queue_->Stop();
  thread_.JoinOrLeave();
}

std::vector<CallbackRequest> CallbackStore::Take() { return queue_->Take(); }

bool CallbackStore::Answer(uint64_t id, std::span<const std::byte> bytes) {
  return queue_->Answer(id, bytes);
}

bool CallbackStore::Refuse(uint64_t id, const Error& why) { return queue_->Refuse(id, why); }

bool CallbackStore::TellAlive(uint64_t id) { return queue_->TellAlive(id); }

void CallbackStore::StartRead(PageRun run, std::byte* into, ReadDone done) {
  Start(run, into, false, std::move(done));
}

void CallbackStore::StartBackgroundRead(PageRun run, std::byte* into, ReadDone done) {
  Start(run, into, true, std::move(done));
}

void CallbackStore::Start(PageRun run, std::byte* into, bool background, ReadDone done) {
  queue_->Read(run, into, background, [this, run, done = std::move(done)](Status read) {
    if (read.ok()) CountRead(run);
    done(read);
  });
}

void CallbackStore::EndReads() { queue_->End(); }

Status CallbackStore::Read(PageRun, std::byte*) {
  return Error{Code::kUnsupported, 0, "a callback store is read by StartRead"};
}

Status CallbackStore::Write(std::span<PageImage> images) {
  if (takes_writes_) return queue_->Write(images);
  return Error{Code::kUnsupported, 0, "the source takes no writes"};
}

}  // namespace farpage
