#include "pager/request_lanes.h"

#include <algorithm>
#include <string>
#include <utility>

#include "os/join_all.h"

namespace farpage {

Code RequestLanes::Submit(const void* whose, std::function<void()> work) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closing_) return Code::kClosed;
  if (waiting_.size() >= kRequestsMax) return Code::kQuota;
  waiting_.push_back({whose, std::move(work)});
  // What a woken thread has not taken yet is counted twice, which costs a thread more at most.
  const auto ready = std::count_if(waiting_.begin(), waiting_.end(), [this](const Request& each) {
    return MayRun(each.whose);
  });
  if (static_cast<size_t>(ready) > idle_ && threads_.size() < kRequestThreadsMax) {
    threads_.emplace_back("request-" + std::to_string(threads_.size()), [this] { Loop(); });
  } else {
    wake_.notify_one();
  }
  return Code::kOk;
}

bool RequestLanes::MayRun(const void* whose) const {
  const auto running = std::count(running_.begin(), running_.end(), whose);
  return static_cast<size_t>(running) < kRequestsPerRegion;
}

bool RequestLanes::Take(Request* request) {
  const auto first = std::find_if(waiting_.begin(), waiting_.end(), [this](const Request& each) {
    return MayRun(each.whose);
  });
  if (first == waiting_.end()) return false;
  *request = std::move(*first);
  waiting_.erase(first);
  running_.push_back(request->whose);
  return true;
}

void RequestLanes::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    Request request{nullptr, {}};
    if (!Take(&request)) {
      // What waits for a busy region, that region's threads go on with.
      if (closing_) return;
      idle_++;
      wake_.wait(lock);
      idle_--;
      continue;
    }
    lock.unlock();
    request.work();
    request.work = {};
    lock.lock();
    running_.erase(std::find(running_.begin(), running_.end(), request.whose));
  }
}

void RequestLanes::Close() { JoinAll(mutex_, &closing_, &threads_, wake_); }

}  // namespace farpage
