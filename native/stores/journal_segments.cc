// The files of the journal: which sync has which.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <utility>

#include "stores/journal_folder.h"

namespace farpage {
namespace {

std::string BegunPath(const std::string& path) { return path + ".begun"; }

}  // namespace

std::string JournalFolder::PathOf(size_t segment) const {
  return segment == 0 ? path_ : path_ + "-segment-" + std::to_string(segment);
}

Status JournalFolder::OpenSegment(size_t segment, bool make, JournalDamage* damage) {
  const std::string path = PathOf(segment);
  const bool begun = ::access(BegunPath(path).c_str(), F_OK) == 0;
  if (!begun && errno != ENOENT) return SystemError("look for journal mark");
  auto file = open_file_(path, make && !begun);
  if (begun && !file.ok() && file.error().code == Code::kFileNotFound) {
    if (damage != nullptr) *damage = {path, 0};
    return Error{Code::kIo, 0, "a file of the journal is missing"};
  }
  if (!file.ok()) return file.error();
  constexpr uint64_t kNowhere = ~uint64_t{0};
  uint64_t damaged_at = kNowhere;
  auto journal = Journal::Open(std::move(file).value(), &damaged_at, begun);
  if (!journal.ok()) {
    if (damage != nullptr && damaged_at != kNowhere) *damage = {path, damaged_at};
    return journal.error();
  }
  segments_[segment].journal = std::move(journal).value();
  // Behind the first head: a crash between the two leaves one that nobody needs to know of.
  if (!begun) segments_[segment].journal->TellBegun([path] { return SetBegun(path); });
  if (segment != 0) segments_[segment].journal->KeepBytes(kSegmentKeepBytes);
  const uint64_t newest = segments_[segment].journal->sequence();
  if (newest > sequence_) sequence_ = newest;
  return {};
}

Status JournalFolder::SetBegun(const std::string& path) {
  const std::string mark = BegunPath(path);
  const Fd made(::open(mark.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  return made.valid() ? MakeFolderDurable(mark) : SystemError("open journal mark");
}

Status JournalFolder::CheckDoubtful(JournalDamage* damage) {
  for (size_t n = 0; n < kJournalSegmentsMax; n++) {
    const Journal* const journal = segments_[n].journal.get();
    if (journal == nullptr || !journal->committed() || !journal->doubtful()) continue;
    // The newest of all may be written once more; another one may be retired since long.
    if (journal->sequence() == sequence_) continue;
    if (damage != nullptr) *damage = {PathOf(n), 0};
    return Error{Code::kIo, 0, "one of two heads of the journal cannot be read, and the other one "
                               "may be that of an old sync"};
  }
  return {};
}

Result<JournalSegment*> JournalFolder::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kSegmentWaitNs);
  for (;;) {
    auto taken = TakeFree();
    if (!taken.ok() || taken.value() != nullptr) return taken;
    if (returned_.wait_until(lock, give_up) == std::cv_status::timeout) break;
  }
  return Error{Code::kTimeout, 0, "the stores of other syncs do not answer, and the journal takes "
                                  "no more of them"};
}

Status JournalFolder::EndEarlier() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (JournalSegment& segment : segments_) {
    if (segment.journal == nullptr || segment.taken) continue;
    Journal& journal = *segment.journal;
    Status ended = journal.committed() ? FinishLocked(&segment) : journal.MakeVoid();
    if (!ended.ok()) return ended;
  }
  return {};
}

Result<JournalSegment*> JournalFolder::TakeFree() {
  for (size_t n = 0; n < kJournalSegmentsMax; n++) {
    JournalSegment& segment = segments_[n];
    if (segment.taken) continue;
    if (segment.journal == nullptr) {
      if (Status made = OpenSegment(n, true, nullptr); !made.ok()) return made.error();
    }
    // What is left in it is the matter of the next sync of its stores.
    if (!segment.journal->IsVoid()) continue;
    segment.taken = true;
    return &segment;
  }
  return static_cast<JournalSegment*>(nullptr);
}

void JournalFolder::Return(JournalSegment* segment) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    segment->taken = false;
  }
  returned_.notify_one();
}

Status JournalFolder::Finish(JournalSegment* segment) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return FinishLocked(segment);
}

Status JournalFolder::FinishLocked(JournalSegment* segment) {
  Journal& journal = *segment->journal;
  for (const uint32_t store : segment->unwritten) {
    const auto of_store = [store](const JournalPage& page) { return page.store == store; };
    if (std::none_of(journal.pages().begin(), journal.pages().end(), of_store)) continue;
    if (Status kept = Keep(journal, store); !kept.ok()) return kept;
  }
  if (Status retired = journal.Retire(); !retired.ok()) return retired;
  segment->unwritten.clear();
  return {};
}

}  // namespace farpage
