// The requests of a CallbackStore on their way to the program and back, and their deadlines.
#pragma once

#include <array>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "stores/callback_store.h"

namespace farpage {

// A run that the pager reads, by one request or several; `done` hears of it when the last ended.
struct CallbackRun {
  ReadDone done;
  std::atomic<uint32_t> parts_left{0};
  std::mutex mutex;  // guards outcome
  Status outcome;
};

// What one request supplies of a run.
struct CallbackPart {
  std::shared_ptr<CallbackRun> run;
  PageRun pages;
  uint64_t length_bytes = 0;
  std::byte* into = nullptr;
  uint64_t deadline_ns = 0;
  bool background = false;               // nobody waits for it yet
  std::list<PageIndex>::iterator place;  // in the order of its kind
};

// One image on its way to the program. Lives on the stack of who waits for it.
struct CallbackWrite {
  PageImage* image = nullptr;
  std::shared_ptr<const std::byte[]> bytes;
  uint64_t deadline_ns = 0;
  uint64_t id = 0;  // once it was taken
  bool ended = false;
};

// Shared by the store and its thread: the last user of a region may be a `done` on this thread,
// and then the store ends inside its own thread's call.
class CallbackQueue {
 public:
  explicit CallbackQueue(CallbackStoreOptions options);

  void Read(PageRun run, std::byte* into, bool background, ReadDone done);
  Status Write(std::span<PageImage> images);
  std::vector<CallbackRequest> Take();
  bool Answer(uint64_t id, std::span<const std::byte> bytes);
  bool Refuse(uint64_t id, const Error& why);
  bool TellAlive(uint64_t id);
  // Ends what waits and whatever comes later.
  void End();
  void Stop();
  // The thread: ends reads at their deadline.
  void Watch();

 private:
  // What the program works on.
  struct Handed {
    PageRun run;
    uint64_t length_bytes = 0;
    bool write = false;
    std::vector<CallbackPart> parts;  // of those that still wait
    CallbackWrite* item = nullptr;    // null when nobody waits any more
  };
  CallbackRequest HandRead();
  CallbackRequest HandWrite();
  [[nodiscard]] bool HasRead() const;
  [[nodiscard]] bool ShouldRing();
  [[nodiscard]] bool Overlaps(std::span<const PageImage> images) const;
  bool Finish(uint64_t id, std::span<const std::byte> bytes, const Status& outcome);
  void WriteWindow(std::span<PageImage> images);
  [[nodiscard]] uint64_t DeadlineOf(const CallbackPart& part) const;
  [[nodiscard]] uint64_t FirstDeadline() const;
  std::vector<CallbackPart> TakeLate(uint64_t now);
  static void EndPart(const CallbackPart& part, const Status& outcome);

  const CallbackStoreOptions options_;
  const uint64_t pages_max_;
  std::mutex mutex_;  // guards all that follows: a few instructions, never a copy
  std::condition_variable watch_;    // the thread: there is a deadline
  std::condition_variable written_;  // who writes: something ended
  std::map<PageIndex, CallbackPart> waiting_;  // by their first page: neighbours are neighbours
  // Their first pages as they came; those that nobody waits for yet go after the others.
  std::array<std::list<PageIndex>, 2> orders_;
  std::list<CallbackWrite*> writes_;
  std::unordered_map<uint64_t, Handed> handed_;
  uint32_t reads_handed_ = 0;
  uint32_t writes_handed_ = 0;
  uint64_t last_id_ = 0;
  uint64_t alive_ns_ = 0;  // when the program last told so, or supplied something
  bool rung_ = false;
  bool idle_ = false;  // the thread sleeps without a deadline
  bool ended_ = false;
  bool stopping_ = false;
};

}  // namespace farpage
