// An initiator in a JavaScript environment: its buffers, its place in the event loop, its end.
#pragma once

#include <napi.h>
#include <uv.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "binding/queue_pair_records.h"
#include "fabric/initiator.h"

namespace farpage {

// The memory that both sides write: it outlives whichever of the two goes first.
struct QueuePairMemory {
  std::unique_ptr<RequestRecord[]> requests;
  std::unique_ptr<CompletionRecord[]> completions;
  std::unique_ptr<std::byte[]> staging;
};

// Owned by the handle's finalizer, by the event loop's watcher while that is open, and by who is in
// the middle of a call. Thread: the environment's only.
class QueuePairHost : public std::enable_shared_from_this<QueuePairHost> {
 public:
  // Requests without a taken completion at most.
  static constexpr uint32_t kSlots = 1024;
  // What small payloads share; JavaScript divides it.
  static constexpr size_t kStagingBytes = size_t{4} << 20;
  // A batch whose answers have begun to come is not waited for longer than this between two.
  static constexpr uint64_t kGapNs = 3'000;
  // How long the event loop's callback polls on while bytes keep coming: a large payload comes in
  // pieces, and each would cost a turn of the loop.
  static constexpr uint64_t kEventSpinNs = 5'000;

  // Takes a connected initiator into the environment's event loop.
  // Errors: kInternal when the loop cannot watch the socket.
  static Result<std::shared_ptr<QueuePairHost>> Open(Napi::Env env,
                                                     std::unique_ptr<Initiator> initiator,
                                                     Napi::Function on_ready);
  ~QueuePairHost();

  QueuePairHost(const QueuePairHost&) = delete;
  QueuePairHost& operator=(const QueuePairHost&) = delete;

  // The calls of binding.ts by their names there. They fail with kClosed after Close. `Attach`
  // also fails with kRange for a slot out of range and with kArgument for one in use, `Submit`
  // with kArgument for a record that is unlawful or whose slot is in use: nothing has been posted
  // then.
  Status Attach(uint32_t slot, Napi::Uint8Array memory);
  Result<uint32_t> Submit(uint32_t count, uint64_t spin_ns);
  Result<uint32_t> Wait(uint64_t timeout_ns);
  void Close();

  [[nodiscard]] const std::shared_ptr<QueuePairMemory>& memory() const { return memory_; }
  [[nodiscard]] uint16_t depth() const { return depth_; }

 private:
  struct Watcher;

  // A slot's present user. A WRITE may complete a second time after its slot went to another
  // request (see Initiator): the number tells the two apart.
  struct Use {
    uint32_t number = 0;
    bool busy = false;
  };

  QueuePairHost(Napi::Env env, std::unique_ptr<Initiator> initiator, Napi::Function on_ready);

  Status Watch();
  void Rewatch();
  void OnEvent();
  uint32_t TakeCompletions();

  static void OnPoll(uv_poll_t* poll, int status, int events);
  static void OnWatcherClosed(uv_handle_t* handle);
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* data);

  Napi::Env env_;
  std::unique_ptr<Initiator> initiator_;  // null once closed
  uint16_t depth_;
  std::shared_ptr<QueuePairMemory> memory_;
  Napi::FunctionReference on_ready_;
  std::unique_ptr<Napi::AsyncContext> context_;
  std::vector<RecordMemory> attached_;
  std::vector<Use> uses_;
  std::vector<Napi::Reference<Napi::Uint8Array>> attachments_;
  std::vector<WorkRequest> batch_;
  std::vector<Completion> taken_;
  Watcher* watcher_ = nullptr;  // the event loop's; it deletes itself once closed
  int events_ = 0;
};

}  // namespace farpage
