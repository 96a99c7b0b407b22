// One NIC thread: an epoll loop that owns connections.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fabric/responder.h"
#include "memory/shootdown.h"
#include "os/busy_core.h"
#include "os/short_cores.h"
#include "os/thread.h"

namespace farpage {

// Connections of one loop, at most.
inline constexpr uint32_t kLoopConnectionsMax = 4096;
// Active connections that are polled one by one; with more, epoll tells who is ready.
inline constexpr size_t kPolledConnectionsMax = 4;
// Rounds of polling between two looks at epoll.
inline constexpr uint32_t kRoundsPerEpoll = 32;
// Reads of its own that a loop ends in one round, at most; polled connections are looked at
// between any two.
inline constexpr int kFillsPerRound = 4;
// How long connections that have more to do may go on before the loop looks at anything but those
// that are polled.
inline constexpr uint64_t kShortTurnsNs = 25'000;
// A longer time between two looks at the clock was not spent polling: the kernel had given the
// core to somebody else. That is believed for so long after an activity: where a look takes longer
// than that by itself, a loop would never sleep.
inline constexpr uint64_t kAwayNs = 20'000;
inline constexpr uint64_t kAwayMaxNs = 100'000'000;
// How long polling goes on, at least, while the pager works in pieces (os/work_in_pieces.h): a few
// of them may keep a peer from asking again, and who sleeps then may be woken on the core where
// that peer polls, and wait for it although another core is idle.
inline constexpr uint64_t kPollBesideNs = 1'000'000;
// How long after it was served a connection is about to ask again, and is not kept waiting for the
// reads of another one.
inline constexpr uint64_t kLatelyNs = 1'000'000;
// How long a peer may take for the handshake, to read a Terminate, or to go on with half an FPDU
// or an answer it does not take.
inline constexpr uint64_t kHandshakeNs = 10'000'000'000;
inline constexpr uint64_t kDrainNs = 1'000'000'000;
inline constexpr uint64_t kUnsettledNs = 30'000'000'000;

// What a loop has done, readable by any thread.
struct LoopStats {
  std::atomic<uint64_t> connections{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> terminated{0};
  std::atomic<uint64_t> operations{0};
  std::atomic<uint64_t> bytes_read{0};
  std::atomic<uint64_t> bytes_written{0};
  std::atomic<uint64_t> yields{0};  // times it polled on and let others go first
};

// Polls adaptively: for `poll_ns` after activity, never on a single core and not while its
// connections only wait for fills. Other threads send it work through Post() and Wake().
class EventLoop final : public FaultWaiter {
 public:
  struct Options {
    std::string name;
    uint32_t lane = 0;
    uint64_t poll_ns = 0;
    uint64_t window_bytes = 0;
  };
  using Accepted = std::function<void(Fd socket)>;

  // Fails: kIo, kQuota (no turn counter left).
  static Result<std::unique_ptr<EventLoop>> Start(const Options& options, FaultHandler* pager,
                                                  Shootdown* shootdown);
  ~EventLoop();

  // Runs `task` on the loop, outside a turn, soon. Thread: any. False once stopped.
  bool Post(std::function<void()> task);
  // Post and wait until it has run. Thread: any but the loop's.
  void PostAndWait(std::function<void()> task);

  void Wake(const FaultWake& wake) override;

  // On the loop's thread: takes a connection over, which the sender has counted into
  // stats().connections; watches a listening socket.
  void Adopt(Fd socket, Admission* admission, std::shared_ptr<const ExportPort> export_port);
  void Listen(int listener, Accepted accepted);
  void StopListening(int listener);
  // Ends the connections of a domain, or all (null).
  void EndConnections(const ProtectionDomain* domain);

  // Ends every connection and joins the thread. Idempotent.
  void Stop();

  [[nodiscard]] const LoopStats& stats() const { return stats_; }
  LoopStats& stats() { return stats_; }

 private:
  struct Listener {
    int socket;
    Accepted accepted;
  };
  // What epoll is asked about a connection. The room is asked for only while bytes wait for it: a
  // Unix socket tells of it with every message that the peer takes (unix_write_space).
  enum class Interest : uint8_t { kNone, kRead, kReadAndRoom };
  struct Slot {
    std::unique_ptr<Responder> responder;
    uint32_t generation = 0;
    uint32_t polled = 0;  // turns that polling gave it something to do in, since it was watched
    Interest interest = Interest::kNone;
    bool runnable = false;
    bool waits = false;      // for a fill
    uint64_t served_ns = 0;  // when a turn last did something for it
    uint64_t since_ns = 0;   // when it became unsettled; 0: it is not
  };
  // What epoll's data says: connections carry their token, the rest these kinds.
  static constexpr uint64_t kListenerBit = uint64_t{1} << 62;
  static constexpr uint64_t kDoorbell = uint64_t{1} << 63;
  static constexpr uint64_t kSweepNs = 500'000'000;
  // A connection that polling has served as often is not watched by epoll until polling ends: the
  // peer's send otherwise pays for telling epoll what polling sees by itself (a tenth of a us).
  static constexpr uint32_t kPolledAlone = 64;
  // Rounds of polling between two looks at the clock.
  static constexpr uint32_t kRoundsPerClock = 8;
  // A turn that moves as much reads the clock again: it may last as long as polling does.
  static constexpr uint64_t kLongTurnBytes = 64 * 1024;
  static constexpr int kEventsMax = 64;  // of one look, and connections of one accept round

  EventLoop(const Options& options, FaultHandler* pager, Shootdown* shootdown, Fd epoll,
            Fd event, TurnCounter* counter);
  void Loop();
  void DrainInbox();
  int HandleEvents(int timeout_ms);
  bool Watch(uint32_t index, Interest interest);
  void WatchPolled();
  void AcceptAll(const Listener& listener);
  bool RunOne(uint32_t index);
  [[nodiscard]] bool OthersAsk(uint32_t index) const;
  // True when there was one; it has looked at the clock then.
  bool RunRunnable();
  bool PollHot(uint64_t now);
  bool PolledInVain(uint64_t idle_ns);
  bool ServeHot(uint64_t now);
  void EndReads(uint64_t now);
  uint64_t LookAtClock(bool polled);
  bool AnyRunnable() const { return !runnable_.empty(); }
  void MakeRunnable(uint32_t index);
  void Release(uint32_t index);
  void Unsettle(Slot& slot, uint64_t since_ns);
  void Sweep(uint64_t now);
  void Ring();

  const Options options_;
  FaultHandler* pager_;
  Shootdown* shootdown_;
  Fd epoll_;
  Fd event_;
  Fd spare_;  // given up for a moment when descriptors run out
  TurnCounter* counter_;
  std::unique_ptr<FillQueue> fills_;
  AnsweringThread answering_;
  BusyCore core_;
  ResponderContext context_;
  LoopStats stats_;

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> runnable_;
  std::vector<uint32_t> running_;
  std::vector<uint32_t> hot_;
  std::vector<Listener> listeners_;
  bool may_poll_ = false;
  uint64_t last_activity_ns_ = 0;
  uint64_t looked_ns_ = 0;        // at the clock, while polling
  uint64_t away_ns_ = 0;          // that did not count as polling since the last activity
  uint64_t counted_from_ns_ = 0;  // last_activity_ns_, moved on by that
  uint64_t looked_round_ns_ = 0;  // at everything else, while connections are runnable
  uint64_t next_sweep_ns_ = 0;
  int waiting_ = 0;            // connections that wait for fills
  uint32_t unwatched_ = 0;     // connections that polling alone looks at; all are in hot_
  int unsettled_ = 0;          // connections whose peer is half-way through something
  uint32_t open_ = 0;

  // The inbox: the cold path's way in. A lock for a few instructions; the doorbell is rung only
  // when the loop sleeps.
  std::mutex inbox_mutex_;
  std::vector<FaultWake> wakes_;
  std::vector<std::function<void()>> tasks_;
  bool stopped_ = false;
  std::atomic<bool> inbox_full_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> stopping_{false};
  Thread thread_;
};

}  // namespace farpage
