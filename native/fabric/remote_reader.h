// The thread behind a RemoteStore: a queue of READs in, one connection, completions out.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "fabric/doorbell.h"
#include "fabric/remote_store.h"

namespace farpage {

// A run of pages that is read by one READ or several; `done` hears of it when the last one ended.
struct RemoteRun {
  ReadDone done;
  uint32_t reads_left = 0;
  Status outcome;
};

// One READ of a run.
struct RemoteRead {
  std::shared_ptr<RemoteRun> run;
  uint64_t offset = 0;
  uint32_t length_bytes = 0;
  std::byte* into = nullptr;
  uint64_t asked_ns = 0;
  bool background = false;  // nobody waits for it yet
  int repeats = 0;
};

// Shared by the store and its thread: the last user of a region may be a `done` on this thread,
// and then the store ends inside its own thread's call.
class RemoteReader {
 public:
  explicit RemoteReader(RemoteStoreOptions options);

  // False: there are too many already, or reads were ended (*error says which). Thread: any.
  bool Submit(std::vector<RemoteRead> reads, Error* error);
  void Open(RemoteDoor door);
  void Refuse(const Error& error);
  void EndReads();
  void Stop();
  void Loop();
  [[nodiscard]] bool connected() const { return connected_.load(std::memory_order_relaxed); }

 private:
  void TakeOrders();
  void Dial(RemoteDoor door);
  void AskForDoor(uint64_t now);
  void Post(uint64_t now);
  std::deque<RemoteRead>* NextToPost(uint64_t now);
  void PutBack(RemoteRead read);
  bool Collect();
  void OnCompletion(const Completion& completion);
  void Repeat(RemoteRead read, const Error& why);
  void Expire(uint64_t now);
  void Hangup();
  void FailAll(const Error& error);
  static void End(const RemoteRead& read, const Status& outcome);
  void Sleep();
  [[nodiscard]] bool busy() const { return in_flight_ != 0; }
  [[nodiscard]] bool waits() const { return !waiting_.empty() || !background_.empty(); }
  [[nodiscard]] bool IsLate(const RemoteRead& read, uint64_t now) const {
    return read.asked_ns + options_.deadline_ns <= now;
  }

  const RemoteStoreOptions options_;
  Doorbell bell_;  // rung for whatever is handed over, and to end
  std::mutex mutex_;  // guards what follows up to the blank line: handing over, a few instructions
  std::vector<RemoteRead> submitted_;
  std::optional<RemoteDoor> door_;
  std::optional<Error> refusal_;
  std::atomic<size_t> count_{0};  // READs that have not ended
  std::atomic<bool> ended_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> connected_{false};

  // The thread's own.
  std::unique_ptr<Initiator> initiator_;
  uint32_t stag_ = 0;
  std::deque<RemoteRead> waiting_;     // somebody waits for these
  std::deque<RemoteRead> background_;  // nobody yet
  uint64_t background_bytes_ = 0;      // of those outstanding
  std::vector<std::optional<RemoteRead>> flying_;
  std::vector<uint32_t> free_;
  size_t in_flight_ = 0;
  bool asked_ = false;
  uint64_t ask_after_ns_ = 0;
  Error last_error_{Code::kTimeout, 0, "no door to the source came in time"};
  AdaptiveSpin spin_;
};

}  // namespace farpage
