// Which atomic sync has its turn: those of different regions do not wait for each other's stores.
#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/clock.h"
#include "os/join_all.h"
#include "pager/atomic_sync.h"

namespace farpage {
namespace {

using Members = std::vector<AtomicSync::Member>;

bool ShareARegion(const Members& some, const Members& others) {
  return std::any_of(some.begin(), some.end(), [&](const auto& one) {
    return std::any_of(others.begin(), others.end(),
                       [&](const auto& other) { return one.region == other.region; });
  });
}

// The first that has one of these regions.
template <typename Claims>
auto FindClaim(const Claims& claims, const Members& members) {
  return std::find_if(claims.begin(), claims.end(), [&](const auto& claim) {
    return ShareARegion(*claim.members, members);
  });
}

}  // namespace

void AtomicSync::Close() { JoinAll(mutex_, &closing_, &threads_, wake_); }

void AtomicSync::Submit(std::vector<Member> members, AtomicSyncDone done) {
  Code refused = Code::kOk;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) {
      refused = Code::kClosed;
    } else if (jobs_.size() >= kWriteBackJobsMax) {
      refused = Code::kQuota;
    } else {
      for (const Member& member : members) {
        member.region->jobs.fetch_add(1, std::memory_order_acq_rel);
      }
      jobs_.push_back({std::move(members), std::move(done)});
      WakeThread();
    }
  }
  if (refused != Code::kOk) done(Error{refused, 0, "submit atomic sync"});
}

void AtomicSync::WakeThread() {
  if (idle_ != 0) {
    wake_.notify_one();
  } else if (!closing_ && threads_.size() < kSyncThreadsMax) {
    const std::string number = threads_.empty() ? "" : "-" + std::to_string(threads_.size());
    threads_.emplace_back("journal" + number, [this] { Loop(); });
  }
}

bool AtomicSync::TakeJob(Job* job) {
  // A sync keeps its regions for itself while it waits for one of them, or those that are synced
  // again and again alone would keep it waiting. Not where that one may be held up for ever.
  std::vector<Claim> ahead;
  const uint64_t now = NowNs();
  for (auto next = jobs_.begin(); next != jobs_.end(); ++next) {
    const auto before = FindClaim(running_, next->members);
    const bool waits = before != running_.end();
    if (!waits && FindClaim(ahead, next->members) == ahead.end()) {
      *job = std::move(*next);
      jobs_.erase(next);
      running_.push_back({&job->members, now});
      return true;
    }
    const bool stuck = waits && now > before->since_ns + kStuckSyncNs;
    if (!stuck) ahead.push_back({&next->members, now});
  }
  return false;
}

void AtomicSync::EndClaim(const std::vector<Member>& members) {
  std::erase_if(running_, [&](const Claim& claim) { return claim.members == &members; });
  ended_.notify_all();
  if (!jobs_.empty()) WakeThread();
}

void AtomicSync::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_ || !jobs_.empty()) {
    Job job;
    if (!TakeJob(&job)) {
      idle_++;
      if (jobs_.empty()) {
        wake_.wait(lock);
      } else {
        wake_.wait_for(lock, std::chrono::nanoseconds(kStuckSyncNs));
      }
      idle_--;
      continue;
    }
    if (!jobs_.empty()) WakeThread();
    lock.unlock();
    auto outcome = RunClaimed(job.members);
    lock.lock();
    EndClaim(job.members);
    lock.unlock();
    for (Member& member : job.members) {
      member.region->jobs.fetch_sub(1, std::memory_order_acq_rel);
      member.region.reset();
    }
    job.done(std::move(outcome));
    lock.lock();
  }
}

Result<AtomicReceipt> AtomicSync::Run(const std::vector<Member>& members) {
  std::unique_lock<std::mutex> lock(mutex_);
  ended_.wait(lock, [&] { return FindClaim(running_, members) == running_.end(); });
  running_.push_back({&members, NowNs()});
  lock.unlock();
  auto outcome = RunClaimed(members);
  lock.lock();
  EndClaim(members);
  return outcome;
}

Result<AtomicReceipt> AtomicSync::RunClaimed(const std::vector<Member>& members) {
  auto outcome = RunLocked(members);
  const Code code = outcome.ok() ? Code::kOk : outcome.error().code;
  for (const Member& member : members) {
    member.region->fills.write_back_failure.store(code, std::memory_order_relaxed);
  }
  return outcome;
}

}  // namespace farpage
