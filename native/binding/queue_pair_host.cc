#include "binding/queue_pair_host.h"

#include <span>
#include <utility>

#include "base/clock.h"

namespace farpage {
namespace {

// A request's id: the number of its slot's use above the slot.
constexpr uint64_t kSlotMask = UINT32_MAX;
constexpr int kUseShift = 32;

}  // namespace

// What libuv knows. It stays until uv_close has called back, which may be after the host is gone.
struct QueuePairHost::Watcher {
  uv_poll_t poll{};
  napi_async_cleanup_hook_handle hook = nullptr;
  std::shared_ptr<QueuePairHost> host;  // null once closing
};

Result<std::shared_ptr<QueuePairHost>> QueuePairHost::Open(Napi::Env env,
                                                           std::unique_ptr<Initiator> initiator,
                                                           Napi::Function on_ready) {
  std::shared_ptr<QueuePairHost> host(new QueuePairHost(env, std::move(initiator), on_ready));
  const Status watched = host->Watch();
  if (!watched.ok()) return watched.error();
  return host;
}

QueuePairHost::QueuePairHost(Napi::Env env, std::unique_ptr<Initiator> initiator,
                             Napi::Function on_ready)
    : env_(env),
      initiator_(std::move(initiator)),
      depth_(initiator_->depth()),
      memory_(std::make_shared<QueuePairMemory>()),
      on_ready_(Napi::Persistent(on_ready)),
      context_(std::make_unique<Napi::AsyncContext>(env, "FarpageQueuePair")),
      attached_(kSlots),
      uses_(kSlots),
      attachments_(kSlots),
      batch_(kSlots),
      taken_(kSlots + 1) {
  memory_->requests = std::make_unique<RequestRecord[]>(kSlots);
  // One more than slots: see Initiator about WRITEs with a second completion.
  memory_->completions = std::make_unique<CompletionRecord[]>(kSlots + 1);
  memory_->staging = std::make_unique_for_overwrite<std::byte[]>(kStagingBytes);
}

QueuePairHost::~QueuePairHost() = default;

Status QueuePairHost::Watch() {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) {
    return Error{Code::kInternal, 0, "napi_get_uv_event_loop"};
  }
  auto watcher = std::make_unique<Watcher>();
  const int failed = uv_poll_init(loop, &watcher->poll, initiator_->socket());
  if (failed != 0) return Error{Code::kInternal, -failed, "uv_poll_init"};
  watcher->poll.data = watcher.get();
  watcher->host = shared_from_this();
  watcher_ = watcher.release();
  napi_add_async_cleanup_hook(env_, &OnEnvironmentEnd, watcher_, &watcher_->hook);
  Rewatch();
  return {};
}

// The loop watches for answers all the time, because to start and stop it costs a system call each;
// for room in the socket only while bytes wait. It is kept alive by requests in flight alone.
void QueuePairHost::Rewatch() {
  auto* const handle = reinterpret_cast<uv_handle_t*>(&watcher_->poll);
  int events = 0;
  if (!initiator_->ended()) {
    events = UV_READABLE | (initiator_->wants_write() ? UV_WRITABLE : 0);
  }
  if (events != events_) {
    if (events == 0) {
      uv_poll_stop(&watcher_->poll);
    } else {
      uv_poll_start(&watcher_->poll, events, &OnPoll);
    }
    events_ = events;
  }
  if (initiator_->in_flight() > 0) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

Status QueuePairHost::Attach(uint32_t slot, Napi::Uint8Array memory) {
  if (initiator_ == nullptr) return Error{Code::kClosed, 0, "queuePairAttach"};
  if (slot >= kSlots) return Error{Code::kRange, 0, "queuePairAttach"};
  // What is attached to it may be the target of a READ in flight.
  if (uses_[slot].busy) return Error{Code::kArgument, 0, "queuePairAttach: slot in use"};
  attached_[slot] = {reinterpret_cast<std::byte*>(memory.Data()), memory.ByteLength()};
  attachments_[slot] = Napi::Persistent(memory);
  return {};
}

Result<uint32_t> QueuePairHost::Submit(uint32_t count, uint64_t spin_ns) {
  if (initiator_ == nullptr) return Error{Code::kClosed, 0, "submit"};
  const RecordMemory staging{memory_->staging.get(), kStagingBytes};
  for (uint32_t i = 0; i < count; ++i) {
    WorkRequest& request = batch_[i];
    const bool lawful =
        ToWorkRequest(memory_->requests[i], kSlots, staging, attached_.data(), &request);
    if (!lawful || uses_[request.id].busy) {
      for (uint32_t undo = 0; undo < i; ++undo) uses_[batch_[undo].id & kSlotMask].busy = false;
      return Error{Code::kArgument, 0, lawful ? "slot in use" : "unlawful record"};
    }
    Use& use = uses_[request.id];
    use.busy = true;
    request.id |= uint64_t{++use.number} << kUseShift;
  }
  // All fit: there are as many slots here as there, and each is used once.
  initiator_->Post(std::span(batch_).first(count));
  initiator_->Flush();
  initiator_->Spin(spin_ns, kGapNs);
  const uint32_t completed = TakeCompletions();
  Rewatch();
  return completed;
}

Result<uint32_t> QueuePairHost::Wait(uint64_t timeout_ns) {
  if (initiator_ == nullptr) return Error{Code::kClosed, 0, "queuePairWait"};
  if (timeout_ns == 0) {
    initiator_->Progress();
  } else {
    // Neither a deadline that passed nor nothing to wait for is an error: no completions say it.
    [[maybe_unused]] const Status waited = initiator_->Wait(kWaitSpinNs, NowNs() + timeout_ns);
  }
  const uint32_t completed = TakeCompletions();
  Rewatch();
  return completed;
}

uint32_t QueuePairHost::TakeCompletions() {
  const size_t polled = initiator_->Poll(taken_);
  uint32_t count = 0;
  for (size_t i = 0; i < polled; ++i) {
    const Completion& one = taken_[i];
    const auto slot = static_cast<uint32_t>(one.id & kSlotMask);
    if (uses_[slot].number != one.id >> kUseShift) continue;
    uses_[slot].busy = false;
    memory_->completions[count++] = {static_cast<double>(slot), static_cast<double>(one.code),
                                     static_cast<double>(one.terminate), one.old_value};
    if (attached_[slot].base != nullptr) {
      attached_[slot] = {};
      attachments_[slot].Reset();
    }
  }
  return count;
}

void QueuePairHost::OnPoll(uv_poll_t* poll, int status, int events) {
  // An error of the watcher shows as one of the socket, which Progress meets.
  static_cast<void>(status);
  static_cast<void>(events);
  // Closing from within the callback must not take the host away underneath.
  const std::shared_ptr<QueuePairHost> host = static_cast<Watcher*>(poll->data)->host;
  if (host != nullptr) host->OnEvent();
}

void QueuePairHost::OnEvent() {
  initiator_->Spin(kEventSpinNs, kGapNs);
  Napi::HandleScope scope(env_);
  const uint32_t completed = TakeCompletions();
  Rewatch();
  if (completed == 0) return;
  on_ready_.MakeCallback(env_.Global(), {Napi::Number::New(env_, completed)}, *context_);
  if (env_.IsExceptionPending()) {
    napi_fatal_exception(env_, env_.GetAndClearPendingException().Value());
  }
}

void QueuePairHost::Close() {
  if (initiator_ == nullptr) return;
  uv_poll_stop(&watcher_->poll);
  uv_close(reinterpret_cast<uv_handle_t*>(&watcher_->poll), &OnWatcherClosed);
  const std::shared_ptr<QueuePairHost> self = std::exchange(watcher_->host, nullptr);
  watcher_ = nullptr;
  initiator_.reset();  // closes the socket: nothing is written into attached memory any more
  attachments_.clear();
  attached_.clear();
  on_ready_.Reset();
  context_.reset();
}

void QueuePairHost::OnWatcherClosed(uv_handle_t* handle) {
  const std::unique_ptr<Watcher> watcher(static_cast<Watcher*>(handle->data));
  if (watcher->hook != nullptr) napi_remove_async_cleanup_hook(watcher->hook);
}

// The environment (a worker perhaps) ends with the queue pair open. It waits for the hook's
// removal, which follows the watcher's closing.
void QueuePairHost::OnEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* data) {
  static_cast<void>(hook);
  const std::shared_ptr<QueuePairHost> host = static_cast<Watcher*>(data)->host;
  if (host != nullptr) host->Close();
}

}  // namespace farpage
