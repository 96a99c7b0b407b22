// The thread behind a RemoteTier: jobs in, one connection to the pool, outcomes out.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "fabric/adaptive_spin.h"
#include "fabric/doorbell.h"
#include "fabric/initiator.h"
#include "fabric/remote_store.h"
#include "os/thread.h"

namespace farpage {

// A way to the pool. What was sent through an earlier door can change nothing there any more:
// whoever opens one has ended the session of the one before.
struct PoolDoor {
  RemoteDoor remote;
  uint64_t length_bytes = 0;
  // Another pool than behind the door before: nothing of what was put there is left.
  bool fresh = false;
};

// A READ of a page, or WRITEs and a fence behind them: done when all of it is.
struct PoolJob {
  std::vector<WorkRequest> requests;
  // `door` numbers the connection it was last sent on; 0: it never was.
  std::function<void(Status, uint64_t door)> done;
  uint64_t pool = 0;  // the pool whose places these are, as Opened numbered it

  // The pool's own.
  // READs of the places behind this one's, into the memory behind: one request brings all of them.
  std::vector<std::unique_ptr<PoolJob>> joined = {};
  uint64_t asked_ns = 0;
  uint64_t number = 0;
  uint64_t door = 0;
  size_t posted = 0;
  size_t completed = 0;
};

struct PoolOptions {
  // Every job ends within it, whatever the peer does, and the time of one attempt to connect.
  uint64_t deadline_ns = 2'000'000'000;
  // Asks whoever speaks with the other appliance for a door; answered by Open or Refuse. Called by
  // the pool's thread, once for each answer; must not block.
  std::function<void()> need_door;
  // A door was opened, before any job goes through it; returns the number of the pool behind it.
  std::function<uint64_t(const PoolDoor&, uint64_t door)> opened;
  // There is no such pool any more: what was put there is lost. Returns the number of the next.
  std::function<uint64_t()> gone;
};

// While the pool can be reached, jobs are sent as they come, READs first. What ends with a
// connection is sent again on the next one, within its deadline. Once a door is refused or a job
// reaches its deadline the pool is *away*: every job ends with kTierAway at once, until a door
// opens; the thread goes on asking for one. READs of a pool that is another one now end with
// kPageLost. WRITEs that the pool's appliance has no room for end with kNoSpace, those beside them
// with kTierAway, and READs go on. Thread: any; `done` is called on the thread, or by Submit.
class RemotePool {
 public:
  // Jobs that wait or are outstanding at most; more end with kTierAway.
  static constexpr size_t kJobsMax = 65'536;
  // Between a refused door and the next question for one.
  static constexpr uint64_t kAskAgainNs = 1'000'000'000;
  // Connecting and the handshake together.
  static constexpr uint64_t kConnectNs = 1'000'000'000;
  // Bytes of READs of neighbours that wait together and are sent as one, at most: who asked for the
  // first page waits for the last one.
  static constexpr uint32_t kJoinedBytesMax = uint32_t{64} << 10;
  // How long the thread polls for an answer or a job before it sleeps, while that pays.
  static constexpr uint64_t kSpinNs = 50'000;
  // How often deadlines are looked at.
  static constexpr uint64_t kLookNs = 20'000'000;

  explicit RemotePool(PoolOptions options);
  ~RemotePool();

  void Submit(std::unique_ptr<PoolJob> job);
  void Open(PoolDoor door);
  // kSourceChanged: there is no such pool any more.
  void Refuse(const Error& error);

  enum class State : uint8_t { kConnecting, kOpen, kAway };
  [[nodiscard]] State state() const { return state_.load(std::memory_order_acquire); }
  // Why it is away, or was last; kOk: it never was.
  [[nodiscard]] Code reason() const { return reason_.load(std::memory_order_relaxed); }

 private:
  using Jobs = std::deque<std::unique_ptr<PoolJob>>;

  void Loop();
  void TakeOrders();
  void Take(std::unique_ptr<PoolJob> job);
  void Dial(const PoolDoor& door);
  void Post();
  bool PostSome(PoolJob* job);
  PoolJob* Begin(Jobs* queue);
  void Join(PoolJob* job);
  Jobs Waiting();
  bool Collect();
  void OnCompletion(const Completion& completion);
  void OnBreak(const Error& error);
  std::unique_ptr<PoolJob> TakeRefused(Code code);
  void Expire(uint64_t now);
  void GoAway(const Error& error);
  void Hangup();
  void FailAll();
  void End(std::unique_ptr<PoolJob> job, const Status& outcome);
  void Fail(std::unique_ptr<PoolJob> job);
  void Sleep();
  int LookAfterMs() const;

  const PoolOptions options_;
  Doorbell bell_;  // rung for whatever is handed over, and to end
  std::mutex mutex_;  // guards what follows up to the blank line: handing over, a few instructions
  std::vector<std::unique_ptr<PoolJob>> submitted_;
  std::optional<PoolDoor> door_;
  std::optional<Error> refusal_;

  std::atomic<size_t> count_{0};  // jobs that have not ended
  std::atomic<bool> stopping_{false};
  std::atomic<State> state_{State::kConnecting};
  std::atomic<Code> reason_{Code::kOk};
  std::atomic<uint64_t> pool_number_{0};

  // The thread's own.
  std::unique_ptr<Initiator> initiator_;
  uint32_t stag_ = 0;
  uint64_t doors_ = 0;
  Jobs reads_;  // not begun, in the order in which they came
  Jobs writes_;
  std::map<uint64_t, std::unique_ptr<PoolJob>> flying_;  // begun, by a number of their own
  PoolJob* sending_ = nullptr;                           // of these, one that is not wholly sent
  uint64_t numbers_ = 0;
  Status broken_;  // why a request of this connection failed
  uint64_t offender_ = 0;  // the number of its job; 0: of none
  uint64_t opened_ns_ = 0;
  uint64_t look_at_ns_ = 0;
  bool asked_ = false;
  uint64_t ask_after_ns_ = 0;
  AdaptiveSpin spin_;
  Thread thread_;
};

}  // namespace farpage
