// A named thread that is joined when its owner goes.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <functional>
#include <string>
#include <thread>

namespace farpage {

// Starts at construction, blocks every asynchronous signal (they belong to Node's main thread),
// joins in the destructor. The owner tells its loop to end before.
class Thread {
 public:
  Thread() = default;
  // `name` is cut to 15 bytes by the kernel.
  Thread(const std::string& name, std::function<void()> body)
      : thread_([name, run = std::move(body)] {
          sigset_t all;
          sigfillset(&all);
          for (int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL}) sigdelset(&all, fault);
          pthread_sigmask(SIG_BLOCK, &all, nullptr);
          pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
          run();
        }) {}
  Thread(Thread&&) = default;
  Thread& operator=(Thread&&) = default;
  ~Thread() { Join(); }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  // Joins it; called by the thread itself, lets it end alone. Its body must then own what it uses.
  void JoinOrLeave() {
    if (thread_.get_id() == std::this_thread::get_id()) {
      thread_.detach();
    } else {
      Join();
    }
  }

 private:
  std::thread thread_;
};

}  // namespace farpage
