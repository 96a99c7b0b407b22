#include "fabric/remote_pool.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/clock.h"

namespace farpage {
namespace {

// What a fresh connection may mend.
bool Passing(Code code) {
  switch (code) {
    case Code::kConnection:
    case Code::kStag:
    case Code::kRegionRemoved:
    case Code::kClosed:
    case Code::kOutcomeUnknown: return true;
    default: return false;
  }
}

// The appliance of the pool has no room for what was sent. Nothing is wrong with what is there.
bool IsFull(Code code) {
  return code == Code::kMemoryFull || code == Code::kNoSpace || code == Code::kQuota;
}

bool Reads(const PoolJob& job) { return job.requests.front().opcode == Opcode::kRead; }

uint32_t JoinedBytes(const PoolJob& job) {
  uint32_t bytes = 0;
  for (const auto& each : job.joined) bytes += each->requests.front().length_bytes;
  return bytes;
}

}  // namespace

RemotePool::RemotePool(PoolOptions options)
    : options_(std::move(options)),
      thread_("pool", [this] { Loop(); }) {}

RemotePool::~RemotePool() {
  stopping_.store(true);
  bell_.Ring();
  thread_.Join();
}

void RemotePool::Submit(std::unique_ptr<PoolJob> job) {
  job->asked_ns = NowNs();
  const bool room = count_.fetch_add(1, std::memory_order_relaxed) < kJobsMax;
  if (!room || state() == State::kAway) {
    Fail(std::move(job));
    return;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    submitted_.push_back(std::move(job));
  }
  bell_.Ring();
}

void RemotePool::Open(PoolDoor door) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    door_ = std::move(door);
  }
  bell_.Ring();
}

void RemotePool::Refuse(const Error& error) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    refusal_ = error;
  }
  bell_.Ring();
}

void RemotePool::Loop() {
  while (!stopping_) {
    if (bell_.Take()) TakeOrders();
    const uint64_t now = NowNs();
    if (now >= look_at_ns_) Expire(now);
    if (initiator_ == nullptr && !asked_ && now >= ask_after_ns_) {
      asked_ = true;
      options_.need_door();
    }
    Post();
    if (!Collect() && !stopping_) Sleep();
  }
  state_.store(State::kAway, std::memory_order_release);
  TakeOrders();
  Hangup();
  FailAll();
}

void RemotePool::TakeOrders() {
  std::vector<std::unique_ptr<PoolJob>> jobs;
  std::optional<PoolDoor> door;
  std::optional<Error> refusal;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    jobs.swap(submitted_);
    door.swap(door_);
    refusal.swap(refusal_);
  }
  for (std::unique_ptr<PoolJob>& job : jobs) Take(std::move(job));
  if (refusal.has_value()) {
    asked_ = false;
    if (refusal->code == Code::kSourceChanged) pool_number_.store(options_.gone());
    if (initiator_ == nullptr) GoAway(*refusal);
  }
  if (door.has_value() && !stopping_) Dial(*door);
}

void RemotePool::Take(std::unique_ptr<PoolJob> job) {
  if (state() == State::kAway || job->pool != pool_number_.load()) {
    Fail(std::move(job));
  } else {
    (Reads(*job) ? reads_ : writes_).push_back(std::move(job));
  }
}

void RemotePool::Fail(std::unique_ptr<PoolJob> job) {
  if (Reads(*job) && job->pool != pool_number_.load()) {
    End(std::move(job), Error{Code::kPageLost, 0, "the pool is another one now"});
  } else {
    End(std::move(job), Error{Code::kTierAway, 0, "the pool cannot be reached"});
  }
}

void RemotePool::Dial(const PoolDoor& door) {
  asked_ = false;
  Hangup();
  auto connected = Initiator::Connect(door.remote.connect, NowNs() + kConnectNs);
  if (!connected.ok()) {
    GoAway(connected.error());
    return;
  }
  initiator_ = std::move(connected).value();
  stag_ = door.remote.stag;
  opened_ns_ = NowNs();
  pool_number_.store(options_.opened(door, ++doors_));
  state_.store(State::kOpen, std::memory_order_release);
  // Those that wait may mean another pool.
  for (std::unique_ptr<PoolJob>& job : Waiting()) Take(std::move(job));
}

// Those that wait, which then do not any more.
RemotePool::Jobs RemotePool::Waiting() {
  Jobs waiting = std::exchange(reads_, {});
  std::move(writes_.begin(), writes_.end(), std::back_inserter(waiting));
  writes_.clear();
  return waiting;
}

PoolJob* RemotePool::Begin(Jobs* queue) {
  PoolJob* job = queue->front().get();
  job->number = ++numbers_;
  job->door = doors_;
  flying_.emplace(job->number, std::move(queue->front()));
  queue->pop_front();
  return job;
}

// READs that wait right behind it, of what comes next there and here, come with it.
void RemotePool::Join(PoolJob* job) {
  const WorkRequest& first = job->requests.front();
  uint32_t bytes = first.length_bytes;
  while (!reads_.empty()) {
    const WorkRequest& next = reads_.front()->requests.front();
    const bool follows = next.remote_offset == first.remote_offset + bytes &&
                         next.local == first.local + bytes;
    if (!follows || bytes + next.length_bytes > kJoinedBytesMax) return;
    bytes += next.length_bytes;
    reads_.front()->door = doors_;
    job->joined.push_back(std::move(reads_.front()));
    reads_.pop_front();
  }
}

// False: there is no room for all of it now.
bool RemotePool::PostSome(PoolJob* job) {
  while (job->posted < job->requests.size()) {
    WorkRequest request = job->requests[job->posted];
    request.id = job->number;
    request.stag = stag_;
    request.length_bytes += JoinedBytes(*job);
    if (initiator_->Post({&request, 1}) != 1) return false;
    job->posted++;
  }
  return true;
}

void RemotePool::Post() {
  if (initiator_ == nullptr) return;
  bool posted = false;
  while (sending_ == nullptr && !(reads_.empty() && writes_.empty())) {
    posted = true;
    const bool reads = !reads_.empty();
    PoolJob* job = Begin(reads ? &reads_ : &writes_);
    if (reads) Join(job);
    if (!PostSome(job)) sending_ = job;
  }
  if (sending_ != nullptr) {
    posted = true;
    if (PostSome(sending_)) sending_ = nullptr;
  }
  if (posted) initiator_->Flush();
}

// Takes what has come; false: nothing did.
bool RemotePool::Collect() {
  if (initiator_ == nullptr) return false;
  (void)initiator_->Progress();
  std::array<Completion, 64> taken;
  bool any = false;
  for (size_t count = 0; (count = initiator_->Poll(taken)) != 0;) {
    any = true;
    for (size_t n = 0; n < count; n++) OnCompletion(taken[n]);
  }
  if (broken_.ok() && initiator_->ended()) broken_ = initiator_->end_error();
  if (broken_.ok()) return any;
  OnBreak(broken_.error());
  return true;
}

void RemotePool::OnCompletion(const Completion& completion) {
  if (completion.code != Code::kOk) {
    // A refusal of one request says more than that the stream ended.
    const bool better = broken_.ok() || Passing(broken_.error().code);
    if (better) {
      broken_ = Error{completion.code, 0, "a request to the pool"};
      offender_ = completion.id;
    }
    return;
  }
  const auto found = flying_.find(completion.id);
  if (found == flying_.end()) return;
  PoolJob& job = *found->second;
  if (++job.completed < job.requests.size()) return;
  std::unique_ptr<PoolJob> ended = std::move(found->second);
  flying_.erase(found);
  End(std::move(ended), {});
}

// The job that found no room there, which is none of those in flight then.
std::unique_ptr<PoolJob> RemotePool::TakeRefused(Code code) {
  const auto found = IsFull(code) ? flying_.find(offender_) : flying_.end();
  if (found == flying_.end()) return nullptr;
  std::unique_ptr<PoolJob> job = std::move(found->second);
  flying_.erase(found);
  return job;
}

// A connection that ends soon after it was made is not simply made again, unless by WRITEs that
// found no room: of these no more come for a while.
void RemotePool::OnBreak(const Error& error) {
  std::unique_ptr<PoolJob> refused = TakeRefused(error.code);
  const bool of_write = refused != nullptr && !Reads(*refused);
  const bool soon = NowNs() - opened_ns_ < kAskAgainNs;
  if (of_write || (!soon && (refused != nullptr || Passing(error.code)))) {
    state_.store(State::kConnecting, std::memory_order_release);
    Hangup();
  } else {
    GoAway(error);
  }
  if (refused == nullptr) return;
  if (!of_write) return Fail(std::move(refused));
  End(std::move(refused), Error{Code::kNoSpace, 0, "the pool's appliance has no room"});
  // Each of the others would end the next connection.
  for (std::unique_ptr<PoolJob>& job : std::exchange(writes_, {})) Fail(std::move(job));
}

// A pool that leaves one job waiting until its deadline is away for all of them.
void RemotePool::Expire(uint64_t now) {
  look_at_ns_ = now + kLookNs;
  const auto late = [&](const PoolJob& job) { return job.asked_ns + options_.deadline_ns <= now; };
  bool any = false;
  for (const Jobs* queue : {&reads_, &writes_}) {
    any = any || (!queue->empty() && late(*queue->front()));
  }
  for (const auto& [number, job] : flying_) any = any || late(*job);
  if (any) GoAway({Code::kTimeout, 0, "the pool did not answer in time"});
}

void RemotePool::GoAway(const Error& error) {
  reason_.store(error.code, std::memory_order_relaxed);
  state_.store(State::kAway, std::memory_order_release);
  ask_after_ns_ = NowNs() + kAskAgainNs;
  Hangup();
  FailAll();
}

// Ends the connection; what was begun on it is sent anew on the next one.
void RemotePool::Hangup() {
  initiator_.reset();
  broken_ = {};
  offender_ = 0;
  sending_ = nullptr;
  for (auto each = flying_.rbegin(); each != flying_.rend(); ++each) {
    std::unique_ptr<PoolJob>& job = each->second;
    job->posted = 0;
    job->completed = 0;
    for (auto joined = job->joined.rbegin(); joined != job->joined.rend(); ++joined) {
      reads_.push_front(std::move(*joined));
    }
    job->joined.clear();
    (Reads(*job) ? reads_ : writes_).push_front(std::move(job));
  }
  flying_.clear();
}

void RemotePool::FailAll() {
  for (std::unique_ptr<PoolJob>& job : Waiting()) Fail(std::move(job));
}

void RemotePool::End(std::unique_ptr<PoolJob> job, const Status& outcome) {
  const auto joined = std::exchange(job->joined, {});
  count_.fetch_sub(1, std::memory_order_relaxed);
  job->done(outcome, job->door);
  for (const auto& each : joined) {
    count_.fetch_sub(1, std::memory_order_relaxed);
    each->done(outcome, each->door);
  }
}

int RemotePool::LookAfterMs() const {
  if (!reads_.empty() || !writes_.empty() || !flying_.empty()) return kLookNs / 1'000'000;
  if (initiator_ != nullptr || asked_) return -1;
  const uint64_t now = NowNs();
  return now >= ask_after_ns_ ? 0 : static_cast<int>((ask_after_ns_ - now) / 1'000'000 + 1);
}

// Polls while that has paid lately, then sleeps until the socket, an order or a deadline.
void RemotePool::Sleep() {
  const uint64_t begin = NowNs();
  const uint64_t budget = flying_.empty() ? 0 : spin_.Budget(kSpinNs);
  while (NowNs() - begin < budget) {
    if (bell_.rung() || Collect()) {
      spin_.Learn(true);
      return;
    }
  }
  if (budget != 0) spin_.Learn(false);
  bell_.SleepBeside(initiator_.get(), LookAfterMs());
}

}  // namespace farpage
