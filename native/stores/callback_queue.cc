#include "stores/callback_queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/check.h"
#include "base/clock.h"
#include "memory/region_copy.h"

namespace farpage {
namespace {

constexpr Error kGone{Code::kRegionRemoved, 0, "the region goes"};
constexpr Error kLate{Code::kTimeout, 0, "the program did not answer in time"};

// NowNs counts the same clock.
std::chrono::steady_clock::time_point At(uint64_t deadline_ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline_ns));
}

// What the asker hears. Codes that speak of a connection, an STag or a stream are about the
// program's own affairs and would be taken for the asker's.
Error ToldAs(const Error& error) {
  switch (error.code) {
    case Code::kConnection:
    case Code::kTicket:
    case Code::kStag:
    case Code::kClosed: return {Code::kSourceAway, error.system_errno, error.context};
    case Code::kFileChanged: return {Code::kSourceChanged, error.system_errno, error.context};
    case Code::kOk:
    case Code::kProtocol:
    case Code::kOutcomeUnknown:
    case Code::kRegionRemoved:
    case Code::kBounds: return {Code::kIo, error.system_errno, error.context};
    default: return error;
  }
}

bool Touch(PageRun a, PageRun b) { return a.first < b.end() && b.first < a.end(); }

}  // namespace

CallbackQueue::CallbackQueue(CallbackStoreOptions options)
    : options_(std::move(options)),
      pages_max_(std::max<uint64_t>(CallbackStore::kRequestBytesMax >> kPageShift, 1)) {}

void CallbackQueue::Read(PageRun run, std::byte* into, bool background, ReadDone done) {
  const PageIndex last = std::min(run.end(), PagesOf(0, options_.length_bytes).end());
  const uint64_t pages = run.first < last ? last - run.first : 0;
  const uint64_t parts = (pages + pages_max_ - 1) / pages_max_;
  auto shared = std::make_shared<CallbackRun>();
  shared->done = std::move(done);
  shared->parts_left = static_cast<uint32_t>(parts);
  Error refused{Code::kOk, 0, ""};
  bool ring = false;
  bool wake = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (pages == 0) {
      refused = {Code::kRange, 0, "pages beyond the source"};
    } else if (ended_) {
      refused = kGone;
    } else if (waiting_.size() + parts > CallbackStore::kReadsMax) {
      refused = {Code::kQuota, 0, "too many reads wait for the program"};
    } else {
      const uint64_t deadline = NowNs() + options_.deadline_ns;
      for (uint64_t at = 0; at < pages; at += pages_max_) {
        const PageRun part{run.first + at, std::min(pages - at, pages_max_)};
        // The last page's part beyond the region is zero already: its memory is fresh.
        const uint64_t length = std::min(part.length_bytes(),
                                         options_.length_bytes - part.offset_bytes());
        std::list<PageIndex>& order = orders_[background ? 1 : 0];
        order.push_back(part.first);
        const auto [place, made] = waiting_.emplace(
            part.first, CallbackPart{shared, part, length, into + (at << kPageShift), deadline,
                                     background, std::prev(order.end())});
        FARPAGE_CHECK(made, "a page is read once at a time: the pager claims it");
      }
      ring = ShouldRing();
      wake = std::exchange(idle_, false);
    }
  }
  if (refused.code != Code::kOk) {
    shared->done(refused);
    return;
  }
  if (wake) watch_.notify_one();
  if (ring) options_.ring();
}

// Whether a read can be handed out now. What nobody waits for leaves a place for who will.
bool CallbackQueue::HasRead() const {
  if (!orders_[0].empty()) return reads_handed_ < options_.requests_max;
  if (orders_[1].empty()) return false;
  return reads_handed_ + 1 < std::max<uint32_t>(options_.requests_max, 2);
}

// Whether the program is to be told; it looks by itself after each answer.
bool CallbackQueue::ShouldRing() {
  const bool reads = HasRead();
  const bool writes = !writes_.empty() && writes_handed_ < options_.requests_max;
  return (reads || writes) && !std::exchange(rung_, true);
}

std::vector<CallbackRequest> CallbackQueue::Take() {
  std::vector<CallbackRequest> taken;
  const std::lock_guard<std::mutex> lock(mutex_);
  rung_ = false;
  while (HasRead()) taken.push_back(HandRead());
  while (!writes_.empty() && writes_handed_ < options_.requests_max) taken.push_back(HandWrite());
  return taken;
}

// The read that somebody has waited for longest, else the one that began first, with the
// neighbours that wait beside it.
CallbackRequest CallbackQueue::HandRead() {
  const auto oldest = waiting_.find(orders_[orders_[0].empty() ? 1 : 0].front());
  uint64_t pages = oldest->second.pages.count;
  auto end = std::next(oldest);
  for (PageIndex next = oldest->second.pages.end();
       end != waiting_.end() && end->first == next && pages + end->second.pages.count <= pages_max_;
       ++end) {
    pages += end->second.pages.count;
    next = end->second.pages.end();
  }
  auto first = oldest;
  while (first != waiting_.begin()) {
    const auto before = std::prev(first);
    const PageRun& run = before->second.pages;
    if (run.end() != first->first || pages + run.count > pages_max_) break;
    pages += run.count;
    first = before;
  }
  CallbackRequest request;
  Handed handed;
  request.id = ++last_id_;
  request.run = handed.run = {first->first, pages};
  for (auto at = first; at != end; at = waiting_.erase(at)) {
    request.length_bytes += at->second.length_bytes;
    request.deadline_ns = std::max(request.deadline_ns, DeadlineOf(at->second));
    request.background = request.background || at->second.background;
    orders_[at->second.background ? 1 : 0].erase(at->second.place);
    handed.parts.push_back(std::move(at->second));
  }
  handed.length_bytes = request.length_bytes;
  handed_.emplace(request.id, std::move(handed));
  reads_handed_++;
  return request;
}

CallbackRequest CallbackQueue::HandWrite() {
  CallbackWrite* item = writes_.front();
  writes_.pop_front();
  item->id = ++last_id_;
  const PageImage& image = *item->image;
  handed_.emplace(item->id, Handed{image.run, image.length_bytes, true, {}, item});
  writes_handed_++;
  return {item->id, image.run, image.length_bytes, item->deadline_ns, item->bytes, false};
}

bool CallbackQueue::Answer(uint64_t id, std::span<const std::byte> bytes) {
  return Finish(id, bytes, {});
}

bool CallbackQueue::Refuse(uint64_t id, const Error& why) { return Finish(id, {}, ToldAs(why)); }

// The number is gone with the lock: from then on these parts are nobody else's, neither the
// deadline's nor a second answer's.
bool CallbackQueue::Finish(uint64_t id, std::span<const std::byte> bytes, const Status& outcome) {
  Handed handed;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = handed_.find(id);
    if (found == handed_.end()) return false;
    handed = std::move(found->second);
    handed_.erase(found);
    (handed.write ? writes_handed_ : reads_handed_)--;
    if (outcome.ok()) alive_ns_ = NowNs();
    if (handed.write && handed.item != nullptr) {
      handed.item->image->outcome = outcome;
      handed.item->ended = true;
    }
  }
  if (handed.write) {
    written_.notify_all();
    return true;
  }
  const bool whole = bytes.size() == handed.length_bytes;
  for (const CallbackPart& part : handed.parts) {
    Status ended = outcome;
    if (outcome.ok() && !whole) {
      ended = Error{Code::kInternal, 0, "an answer of another length than was asked for"};
    } else if (outcome.ok() &&
               !CopyToRegion(part.into,
                             bytes.data() + ((part.pages.first - handed.run.first) << kPageShift),
                             part.length_bytes)) {
      ended = Error{Code::kIo, 0, "region memory cannot be written"};
    }
    EndPart(part, ended);
  }
  return true;
}

void CallbackQueue::EndPart(const CallbackPart& part, const Status& outcome) {
  CallbackRun& run = *part.run;
  if (!outcome.ok()) {
    const std::lock_guard<std::mutex> lock(run.mutex);
    if (run.outcome.ok()) run.outcome = outcome;
  }
  if (run.parts_left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const ReadDone done = std::move(run.done);
  done(run.outcome);
}

bool CallbackQueue::Overlaps(std::span<const PageImage> images) const {
  return std::any_of(handed_.begin(), handed_.end(), [&](const auto& entry) {
    return entry.second.write && std::any_of(images.begin(), images.end(), [&](const auto& image) {
             return Touch(entry.second.run, image.run);
           });
  });
}

// Window by window. One in which nothing could be written ends the rest untried, and a write of
// which nothing could be written fails as a whole: who would try again image by image or page by
// page would do so in vain, each time for the length of a deadline.
Status CallbackQueue::Write(std::span<PageImage> images) {
  const auto failed = [](const PageImage& image) { return !image.outcome.ok(); };
  bool any = false;
  for (size_t at = 0; at < images.size();) {
    const auto window = images.subspan(at, std::min<size_t>(images.size() - at,
                                                            options_.requests_max));
    WriteWindow(window);
    at += window.size();
    if (!std::all_of(window.begin(), window.end(), failed)) {
      any = true;
      continue;
    }
    for (PageImage& rest : images.subspan(at)) rest.outcome = window.front().outcome;
    break;
  }
  if (any || images.empty()) return {};
  return images.front().outcome;
}

void CallbackQueue::WriteWindow(std::span<PageImage> images) {
  const uint64_t deadline = NowNs() + options_.deadline_ns;
  std::vector<CallbackWrite> items(images.size());
  for (size_t n = 0; n < images.size(); n++) {
    std::shared_ptr<std::byte[]> bytes(new std::byte[images[n].length_bytes]);
    images[n].outcome = kLate;
    items[n] = {&images[n], bytes, deadline, 0, false};
    if (!CopyFromRegion(bytes.get(), images[n].bytes, images[n].length_bytes)) {
      images[n].outcome = Error{Code::kPageLost, 0, "region memory cannot be read"};
      items[n].ended = true;
    }
  }
  std::unique_lock<std::mutex> lock(mutex_);
  // The program may still be at work on an older image of these pages, which must not land after
  // this one.
  written_.wait_until(lock, At(deadline), [&] { return ended_ || !Overlaps(images); });
  if (!ended_ && Overlaps(images)) return;
  if (!ended_) {
    for (CallbackWrite& item : items) {
      if (!item.ended) writes_.push_back(&item);
    }
    if (ShouldRing()) {
      lock.unlock();
      options_.ring();
      lock.lock();
    }
  }
  const auto ended = [](const CallbackWrite& item) { return item.ended; };
  written_.wait_until(lock, At(deadline), [&] {
    return ended_ || std::all_of(items.begin(), items.end(), ended);
  });
  for (CallbackWrite& item : items) {
    if (item.ended) continue;
    if (ended_) item.image->outcome = kGone;
    writes_.remove(&item);
    if (const auto found = handed_.find(item.id); found != handed_.end()) {
      found->second.item = nullptr;
    }
  }
}

void CallbackQueue::End() {
  std::map<PageIndex, CallbackPart> waiting;
  std::unordered_map<uint64_t, Handed> handed;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    waiting.swap(waiting_);
    handed.swap(handed_);
    for (auto& order : orders_) order.clear();
    reads_handed_ = writes_handed_ = 0;
  }
  written_.notify_all();
  for (const auto& [page, part] : waiting) EndPart(part, kGone);
  for (const auto& [id, one] : handed) {
    for (const CallbackPart& part : one.parts) EndPart(part, kGone);
  }
}

void CallbackQueue::Stop() {
  End();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  watch_.notify_all();
}

bool CallbackQueue::TellAlive(uint64_t id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (handed_.find(id) == handed_.end()) return false;
  alive_ns_ = NowNs();
  return true;
}

// Who waits for a read has waited for long enough then. What nobody waits for may come over a slow
// link, many at a time, as long as anything comes.
uint64_t CallbackQueue::DeadlineOf(const CallbackPart& part) const {
  if (!part.background) return part.deadline_ns;
  const uint64_t last =
      part.deadline_ns + (CallbackStore::kDeadlinesMax - 1) * options_.deadline_ns;
  return std::min(std::max(part.deadline_ns, alive_ns_ + options_.deadline_ns), last);
}

// When the first read that is not over must end; 0 when there is none.
uint64_t CallbackQueue::FirstDeadline() const {
  uint64_t first = ~uint64_t{0};
  for (const auto& order : orders_) {
    if (!order.empty()) first = std::min(first, DeadlineOf(waiting_.at(order.front())));
  }
  for (const auto& [id, handed] : handed_) {
    for (const CallbackPart& part : handed.parts) first = std::min(first, DeadlineOf(part));
  }
  return first == ~uint64_t{0} ? 0 : first;
}

std::vector<CallbackPart> CallbackQueue::TakeLate(uint64_t now) {
  std::vector<CallbackPart> late;
  for (auto& order : orders_) {
    while (!order.empty()) {
      const auto oldest = waiting_.find(order.front());
      if (DeadlineOf(oldest->second) > now) break;
      order.pop_front();
      late.push_back(std::move(oldest->second));
      waiting_.erase(oldest);
    }
  }
  for (auto& [id, handed] : handed_) {
    std::erase_if(handed.parts, [&](CallbackPart& part) {
      if (DeadlineOf(part) > now) return false;
      late.push_back(std::move(part));
      return true;
    });
  }
  return late;
}

// Woken by the first read after a quiet time, and then by deadlines alone: a stream of reads that
// are answered in time wakes it once in the length of a deadline.
void CallbackQueue::Watch() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    const uint64_t deadline = FirstDeadline();
    if (deadline == 0) {
      idle_ = true;
      watch_.wait(lock, [this] { return stopping_ || !idle_; });
      continue;
    }
    watch_.wait_until(lock, At(deadline), [this] { return stopping_; });
    const std::vector<CallbackPart> late = TakeLate(NowNs());
    lock.unlock();
    for (const CallbackPart& part : late) EndPart(part, kLate);
    lock.lock();
  }
}

}  // namespace farpage
