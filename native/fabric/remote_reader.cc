#include "fabric/remote_reader.h"

#include <algorithm>

#include "base/clock.h"

namespace farpage {
namespace {

// Longest sleep while reads wait for a door: their deadlines are looked at in between.
constexpr int kLookMs = 20;

// What a fresh door may mend.
bool Passing(Code code) {
  switch (code) {
    case Code::kConnection:
    case Code::kTimeout:
    case Code::kTicket:
    case Code::kStag:
    case Code::kRegionRemoved:
    case Code::kClosed: return true;
    default: return false;
  }
}

// What the reader of a page hears: a lost connection to the source is not one of the reader's own,
// which would only be made again.
Error ToldAs(const Error& error) {
  switch (error.code) {
    case Code::kConnection:
    case Code::kTicket:
    case Code::kStag:
    case Code::kClosed: return {Code::kSourceAway, error.system_errno, error.context};
    default: return error;
  }
}

}  // namespace

RemoteReader::RemoteReader(RemoteStoreOptions options) : options_(std::move(options)) {}

bool RemoteReader::Submit(std::vector<RemoteRead> reads, Error* error) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended_ || stopping_) {
      *error = {Code::kRegionRemoved, 0, "the region goes"};
      return false;
    }
    if (count_ + reads.size() > RemoteStore::kReadsMax) {
      *error = {Code::kQuota, 0, "too many reads wait for the source"};
      return false;
    }
    count_ += reads.size();
    std::move(reads.begin(), reads.end(), std::back_inserter(submitted_));
  }
  bell_.Ring();
  return true;
}

void RemoteReader::Open(RemoteDoor door) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    door_ = std::move(door);
  }
  bell_.Ring();
}

void RemoteReader::Refuse(const Error& error) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    refusal_ = error;
  }
  bell_.Ring();
}

void RemoteReader::EndReads() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  bell_.Ring();
}

void RemoteReader::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  bell_.Ring();
}

void RemoteReader::Loop() {
  while (!stopping_) {
    if (bell_.Take()) TakeOrders();
    if (ended_) FailAll({Code::kRegionRemoved, 0, "the region goes"});
    const uint64_t now = NowNs();
    Expire(now);
    if (initiator_ == nullptr && waits()) AskForDoor(now);
    Post(now);
    if (!Collect() && !stopping_) Sleep();
  }
  FailAll({Code::kRegionRemoved, 0, "the region goes"});
}

void RemoteReader::TakeOrders() {
  std::vector<RemoteRead> reads;
  std::optional<RemoteDoor> door;
  std::optional<Error> refusal;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    reads.swap(submitted_);
    door.swap(door_);
    refusal.swap(refusal_);
  }
  for (RemoteRead& read : reads) {
    (read.background ? background_ : waiting_).push_back(std::move(read));
  }
  if (refusal.has_value()) {
    asked_ = false;
    ask_after_ns_ = NowNs() + RemoteStore::kAskAgainNs;
    last_error_ = *refusal;
    if (!Passing(refusal->code)) FailAll(*refusal);
  }
  if (door.has_value()) Dial(std::move(*door));
}

void RemoteReader::Dial(RemoteDoor door) {
  asked_ = false;
  if (ended_ || stopping_) return;
  auto connected = Initiator::Connect(door.connect, NowNs() + RemoteStore::kConnectNs);
  if (!connected.ok()) {
    last_error_ = connected.error();
    ask_after_ns_ = NowNs() + RemoteStore::kAskAgainNs;
    if (!Passing(last_error_.code)) FailAll(last_error_);
    return;
  }
  initiator_ = std::move(connected).value();
  stag_ = door.stag;
  flying_.assign(std::min<uint32_t>(initiator_->depth(), initiator_->slots()), std::nullopt);
  free_.clear();
  for (uint32_t slot = 0; slot < flying_.size(); slot++) free_.push_back(slot);
  connected_.store(true, std::memory_order_relaxed);
}

void RemoteReader::AskForDoor(uint64_t now) {
  if (asked_ || now < ask_after_ns_) return;
  asked_ = true;
  options_.need_door();
}

// The queue whose first READ goes next; null: none may now.
std::deque<RemoteRead>* RemoteReader::NextToPost(uint64_t now) {
  const bool room =
      !background_.empty() &&
      (background_bytes_ == 0 ||
       background_bytes_ + background_.front().length_bytes <= RemoteStore::kBackgroundBytesMax);
  if (waiting_.empty()) return room ? &background_ : nullptr;
  const bool due =
      room && background_.front().asked_ns + RemoteStore::kBackgroundPatienceNs <= now;
  return due ? &background_ : &waiting_;
}

void RemoteReader::Post(uint64_t now) {
  if (initiator_ == nullptr) return;
  bool posted = false;
  while (!free_.empty()) {
    std::deque<RemoteRead>* queue = NextToPost(now);
    if (queue == nullptr) break;
    const uint32_t slot = free_.back();
    const RemoteRead& next = queue->front();
    WorkRequest request;
    request.id = slot;
    request.stag = stag_;
    request.remote_offset = next.offset;
    request.length_bytes = next.length_bytes;
    request.local = next.into;
    if (initiator_->Post({&request, 1}) != 1) break;
    free_.pop_back();
    if (next.background) background_bytes_ += next.length_bytes;
    flying_[slot] = std::move(queue->front());
    queue->pop_front();
    in_flight_++;
    posted = true;
  }
  if (posted) initiator_->Flush();
}

// Takes what has come; false: nothing did.
bool RemoteReader::Collect() {
  if (initiator_ == nullptr) return false;
  (void)initiator_->Progress();
  std::array<Completion, 64> taken;
  bool any = false;
  while (initiator_ != nullptr) {
    const size_t count = initiator_->Poll(taken);
    if (count == 0) break;
    any = true;
    for (size_t n = 0; n < count; n++) OnCompletion(taken[n]);
  }
  if (initiator_ != nullptr && initiator_->ended()) {
    last_error_ = initiator_->end_error();
    Hangup();
    any = true;
  }
  return any;
}

void RemoteReader::OnCompletion(const Completion& completion) {
  std::optional<RemoteRead>& place = flying_[static_cast<size_t>(completion.id)];
  if (!place.has_value()) return;
  RemoteRead read = std::move(*place);
  place.reset();
  free_.push_back(static_cast<uint32_t>(completion.id));
  in_flight_--;
  if (read.background) background_bytes_ -= read.length_bytes;
  if (completion.code == Code::kOk) {
    count_--;
    End(read, {});
    return;
  }
  Repeat(std::move(read), {completion.code, 0, "a READ of the source"});
}

void RemoteReader::Repeat(RemoteRead read, const Error& why) {
  if (Passing(why.code) && read.repeats < RemoteStore::kRepeatsMax) {
    read.repeats++;
    PutBack(std::move(read));
    return;
  }
  count_--;
  End(read, why);
}

void RemoteReader::PutBack(RemoteRead read) {
  (read.background ? background_ : waiting_).push_front(std::move(read));
}

void RemoteReader::End(const RemoteRead& read, const Status& outcome) {
  RemoteRun& run = *read.run;
  if (!outcome.ok() && run.outcome.ok()) run.outcome = ToldAs(outcome.error());
  if (--run.reads_left == 0) {
    const ReadDone done = std::move(run.done);
    done(run.outcome);
  }
}

// Reads at their deadline end. One that is outstanding takes its connection with it: the others
// of that connection are begun again.
void RemoteReader::Expire(uint64_t now) {
  bool late = false;
  for (const auto& read : flying_) late = late || (read.has_value() && IsLate(*read, now));
  if (late) {
    last_error_ = {Code::kTimeout, 0, "the source did not answer in time"};
    Hangup();
  }
  std::vector<RemoteRead> over;
  for (std::deque<RemoteRead>* queue : {&waiting_, &background_}) {
    std::erase_if(*queue, [&](RemoteRead& read) {
      if (!IsLate(read, now)) return false;
      over.push_back(std::move(read));
      return true;
    });
  }
  for (const RemoteRead& read : over) {
    count_--;
    End(read, last_error_);
  }
}

// Ends the connection; what was outstanding on it waits for the next one.
void RemoteReader::Hangup() {
  initiator_.reset();
  connected_.store(false, std::memory_order_relaxed);
  for (auto& place : flying_) {
    if (!place.has_value()) continue;
    PutBack(std::move(*place));
    place.reset();
  }
  flying_.clear();
  free_.clear();
  in_flight_ = 0;
  background_bytes_ = 0;
}

void RemoteReader::FailAll(const Error& error) {
  if (bell_.Take()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::move(submitted_.begin(), submitted_.end(), std::back_inserter(waiting_));
    submitted_.clear();
    if (door_.has_value() || refusal_.has_value()) bell_.Keep();
  }
  Hangup();
  std::deque<RemoteRead> failed;
  failed.swap(waiting_);
  std::move(background_.begin(), background_.end(), std::back_inserter(failed));
  background_.clear();
  for (const RemoteRead& read : failed) {
    count_--;
    End(read, error);
  }
}

// Polls while that has paid lately, then sleeps until the socket, an order or a deadline.
void RemoteReader::Sleep() {
  const uint64_t begin = NowNs();
  const uint64_t budget = initiator_ == nullptr ? 0 : spin_.Budget(RemoteStore::kSpinNs);
  while (NowNs() - begin < budget) {
    if (bell_.rung() || (busy() && Collect())) {
      spin_.Learn(true);
      return;
    }
  }
  if (budget != 0) spin_.Learn(false);
  const bool idle = !waits() && !busy();
  bell_.SleepBeside(initiator_.get(), idle ? -1 : kLookMs);
}

}  // namespace farpage
