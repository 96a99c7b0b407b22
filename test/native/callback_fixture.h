// A program behind a CallbackStore: a thread that is rung, takes requests and answers them.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "appliance_fixture.h"
#include "stores/callback_store.h"

namespace farpage::test {

inline std::byte CallbackByte(uint64_t offset) {
  return static_cast<std::byte>((offset >> kPageShift) * 37 + offset % 253);
}

inline std::vector<std::byte> CallbackBytes(const CallbackRequest& request) {
  std::vector<std::byte> bytes(request.length_bytes);
  for (uint64_t n = 0; n < bytes.size(); n++) {
    bytes[n] = CallbackByte(request.run.offset_bytes() + n);
  }
  return bytes;
}

// Runs `handle` for every request on `threads` threads.
class Program {
 public:
  using Handle = std::function<void(CallbackStore&, const CallbackRequest&)>;

  explicit Program(Handle handle, size_t threads = 1) : handle_(std::move(handle)) {
    for (size_t n = 0; n < threads; n++) threads_.emplace_back([this] { Loop(); });
  }
  ~Program() { Stop(); }
  // Ends its threads; idempotent.
  void Stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  [[nodiscard]] std::function<void()> Bell() {
    return [this] {
      rings++;
      Wake();
    };
  }
  void Serve(CallbackStore* store) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      store_ = store;
    }
    Wake();
  }
  std::atomic<int> rings{0};
  std::atomic<int> requests{0};

 private:
  void Wake() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      rung_++;
    }
    wake_.notify_all();
  }
  void Loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    uint64_t seen = 0;
    for (;;) {
      wake_.wait(lock, [&] { return ending_ || (store_ != nullptr && rung_ != seen); });
      if (ending_) return;
      seen = rung_;
      CallbackStore* store = store_;
      lock.unlock();
      // After each batch it looks again, as a program does after each answer.
      for (auto taken = store->Take(); !taken.empty(); taken = store->Take()) {
        for (const CallbackRequest& request : taken) {
          requests++;
          handle_(*store, request);
        }
      }
      lock.lock();
    }
  }

  const Handle handle_;
  std::mutex mutex_;
  std::condition_variable wake_;
  CallbackStore* store_ = nullptr;
  uint64_t rung_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

// What became of reads that were started on a store by hand.
struct Reads {
  ReadDone Done(PageIndex page) {
    return [this, page](Status read) {
      const std::lock_guard<std::mutex> lock(mutex);
      codes[page] = read.ok() ? Code::kOk : read.error().code;
      ended++;
    };
  }
  Code CodeOf(PageIndex page) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = codes.find(page);
    return found == codes.end() ? Code::kCount : found->second;
  }
  std::mutex mutex;
  std::map<PageIndex, Code> codes;
  std::atomic<int> ended{0};
};

}  // namespace farpage::test
