#include "stores/journal_folder.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "stores/file_store.h"

namespace farpage {
namespace {

bool SameFile(const JournalStore& a, const JournalStore& b) {
  return a.device == b.device && a.inode == b.inode;
}

bool Overlap(const JournalStore& a, const JournalStore& b) {
  return a.offset_bytes < b.offset_bytes + b.size_bytes &&
         b.offset_bytes < a.offset_bytes + a.size_bytes;
}

uint64_t BytesOf(const Journal& journal, uint32_t store) {
  uint64_t bytes = 0;
  const uint64_t size = journal.stores()[store].size_bytes;
  for (const JournalPage& page : journal.pages()) {
    if (page.store != store) continue;
    bytes += std::min(kPageBytes, size - std::min(size, page.page << kPageShift));
  }
  return bytes;
}

uint64_t PagesOfStore(const Journal& journal, uint32_t store) {
  return static_cast<uint64_t>(
      std::count_if(journal.pages().begin(), journal.pages().end(),
                    [store](const JournalPage& page) { return page.store == store; }));
}

Result<std::unique_ptr<Journal>> OpenPart(const std::string& path) {
  auto file = OsJournalFile::Open(path, false);
  if (!file.ok()) return file.error();
  return Journal::Open(std::move(file).value());
}

}  // namespace

Result<std::unique_ptr<JournalFolder>> JournalFolder::Open(const std::string& path,
                                                           JournalDamage* damage) {
  const auto open = [](const std::string& name,
                       bool make) -> Result<std::unique_ptr<JournalFile>> {
    auto file = OsJournalFile::Open(name, make);
    if (!file.ok()) return file.error();
    return std::unique_ptr<JournalFile>(std::move(file).value());
  };
  return Over(path, open, damage);
}

Result<std::unique_ptr<JournalFolder>> JournalFolder::Over(const std::string& path,
                                                           OpenJournalFile open_file,
                                                           JournalDamage* damage) {
  std::unique_ptr<JournalFolder> folder(new JournalFolder(path, std::move(open_file)));
  // A process that was killed may have left names that only the page cache knows: a part that is
  // gone there would come back by a power loss over what is written from now on.
  if (Status named = MakeFolderDurable(path); !named.ok()) return named.error();
  for (size_t segment = 0; segment < kJournalSegmentsMax; segment++) {
    Status opened = folder->OpenSegment(segment, segment == 0, damage);
    if (!opened.ok() && (segment == 0 || opened.error().code != Code::kFileNotFound)) {
      return opened.error();
    }
  }
  if (Status sure = folder->CheckDoubtful(damage); !sure.ok()) return sure.error();
  if (Status found = folder->FindParts(); !found.ok()) return found.error();
  return folder;
}

Status JournalFolder::FindParts() {
  const size_t slash = path_.rfind('/');
  const std::string where = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const std::string prefix = path_.substr(slash == std::string::npos ? 0 : slash + 1) + "-part-";
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(where.c_str()), ::closedir);
  if (listing == nullptr) return SystemError("opendir");
  std::vector<std::pair<uint64_t, std::string>> names;
  while (const dirent* entry = ::readdir(listing.get())) {
    if (std::strncmp(entry->d_name, prefix.c_str(), prefix.size()) != 0) continue;
    char* end = nullptr;
    const uint64_t number = std::strtoull(entry->d_name + prefix.size(), &end, 10);
    if (*end != '\0') continue;  // one that was not finished
    names.emplace_back(number, path_ + "-part-" + std::to_string(number));
  }
  if (names.size() > kJournalPartsMax) return Error{Code::kQuota, 0, "too many kept parts"};
  std::sort(names.begin(), names.end());
  for (const auto& [number, name] : names) {
    auto part = OpenPart(name);
    if (!part.ok()) return part.error();
    last_part_ = std::max(last_part_, number);
    if (!part.value()->committed() || part.value()->stores().size() != 1) {
      return Error{Code::kIo, 0, "a kept part of a sync is damaged"};
    }
    parts_.push_back({name, part.value()->stores()[0], part.value()->pages().size()});
    waiting_.store(parts_.size());
  }
  return {};
}

Result<std::unique_ptr<PageStore>> JournalFolder::OpenNamed(const JournalStore& store) {
  auto file = FileStore::Open({store.path, store.offset_bytes, store.size_bytes, true});
  if (!file.ok()) return file.error();
  const StoreIdentity is = file.value()->Identity();
  if (is.device != store.device || is.inode != store.inode) {
    return Error{Code::kFileChanged, 0, "another file has the name of the one that was synced"};
  }
  return std::unique_ptr<PageStore>(std::move(file).value());
}

Status JournalFolder::Recover(const OpenJournalStore& open, std::vector<RecoveredStore>* done) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Parts first: they are older than what the journal has.
  RecoverParts(open, done);
  std::vector<JournalSegment*> committed;
  for (JournalSegment& segment : segments_) {
    if (segment.journal != nullptr && segment.journal->committed()) committed.push_back(&segment);
  }
  std::sort(committed.begin(), committed.end(), [](const auto* a, const auto* b) {
    return a->journal->sequence() < b->journal->sequence();
  });
  for (JournalSegment* segment : committed) {
    if (Status applied = RecoverSegment(segment, open, done); !applied.ok()) return applied;
  }
  return {};
}

void JournalFolder::RecoverParts(const OpenJournalStore& open,
                                 std::vector<RecoveredStore>* done) {
  const std::vector<Part> parts = parts_;
  for (const Part& part : parts) {
    auto store = open(part.store);
    Status outcome = store.ok() ? ApplyPart(part, *store.value()) : Status(store.error());
    done->push_back({part.store, part.pages, 0, outcome});
    if (outcome.ok()) (void)Remove(part.path);
  }
}

Status JournalFolder::RecoverSegment(JournalSegment* segment, const OpenJournalStore& open,
                                     std::vector<RecoveredStore>* done) {
  Journal& journal = *segment->journal;
  for (uint32_t n = 0; n < journal.stores().size(); n++) {
    auto store = open(journal.stores()[n]);
    const Status outcome = store.ok() ? journal.Apply(n, *store.value()) : Status(store.error());
    if (!outcome.ok()) segment->unwritten.push_back(n);
    done->push_back({journal.stores()[n], PagesOfStore(journal, n), BytesOf(journal, n), outcome});
  }
  return FinishLocked(segment);
}

Status JournalFolder::Keep(const Journal& journal, uint32_t store) {
  const JournalStore& name = journal.stores()[store];
  const auto same = [&](const Part& part) { return part.store == name && !part.unlinked; };
  // From a try before, whose sync could not be retired.
  if (std::find_if(parts_.begin(), parts_.end(), same) != parts_.end()) return {};
  if (parts_.size() >= kJournalPartsMax) return Error{Code::kQuota, 0, "too many kept parts"};
  const std::string path = path_ + "-part-" + std::to_string(last_part_ + 1);
  const std::string next = path + ".next";
  ::unlink(next.c_str());
  Status kept = WritePart(next, journal, store);
  if (kept.ok() && ::rename(next.c_str(), path.c_str()) != 0) kept = SystemError("rename part");
  if (kept.ok()) kept = MakeFolderDurable(path);
  if (!kept.ok()) {
    ::unlink(next.c_str());
    return kept;
  }
  last_part_++;
  parts_.push_back({path, name, PagesOfStore(journal, store)});
  waiting_.store(parts_.size());
  return {};
}

Status JournalFolder::WritePart(const std::string& path, const Journal& journal,
                                uint32_t store) {
  auto file = OsJournalFile::Open(path, true);
  if (!file.ok()) return file.error();
  auto part = Journal::Open(std::move(file).value());
  if (!part.ok()) return part.error();
  Journal& to = *part.value();
  Status written = to.Begin({&journal.stores()[store], 1}, PagesOfStore(journal, store));
  for (const JournalPage& page : journal.pages()) {
    if (page.store != store || !written.ok()) continue;
    const uint32_t sum = CopyAndCrc32c(to.Slot(), journal.Bytes(page), kPageBytes, 0);
    written = to.Add(0, page.page, sum);
  }
  return written.ok() ? to.Commit() : written;
}

Status JournalFolder::ApplyPart(const Part& part, PageStore& to) {
  if (part.unlinked) return {};
  auto journal = OpenPart(part.path);
  if (!journal.ok()) return journal.error();
  if (!journal.value()->committed()) return Error{Code::kIo, 0, "a kept part is damaged"};
  return journal.value()->Apply(0, to);
}

Status JournalFolder::Remove(const std::string& part_path) {
  if (::unlink(part_path.c_str()) != 0 && errno != ENOENT) return SystemError("unlink");
  const auto is = [&](const Part& part) { return part.path == part_path; };
  for (Part& part : parts_) part.unlinked = part.unlinked || is(part);
  // Until then it may come back, over what is written to the store from now on.
  if (Status gone = MakeFolderDurable(part_path); !gone.ok()) return gone;
  std::erase_if(parts_, is);
  waiting_.store(parts_.size());
  return {};
}

Status JournalFolder::Admit(const JournalStore& store, PageStore& to) {
  if (waiting_.load() == 0) return {};
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    const auto found = std::find_if(parts_.begin(), parts_.end(), [&](const Part& part) {
      const bool names = SameFile(part.store, store) || part.store.path == store.path;
      return names && Overlap(part.store, store);
    });
    if (found == parts_.end()) return {};
    const Part part = *found;
    if (!SameFile(part.store, store)) {
      return Error{Code::kFileChanged, 0, "a committed sync waits for the file of this name that "
                                          "was replaced; put it back, or recover --abandon"};
    }
    if (part.store.offset_bytes != store.offset_bytes ||
        part.store.size_bytes != store.size_bytes) {
      return Error{Code::kFileChanged, 0, "a committed sync waits for another part of this file; "
                                          "run recover first"};
    }
    // Others do not wait for this store.
    lock.unlock();
    if (Status applied = ApplyPart(part, to); !applied.ok()) return applied;
    lock.lock();
    if (Status removed = Remove(part.path); !removed.ok()) return removed;
  }
}

Result<uint64_t> JournalFolder::Abandon(const std::string& path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::vector<Part> parts = parts_;
  uint64_t pages = 0;
  for (const Part& part : parts) {
    if (part.store.path != path) continue;
    pages += part.pages;
    if (Status removed = Remove(part.path); !removed.ok()) return removed.error();
  }
  return pages;
}

std::vector<JournalStore> JournalFolder::Waiting() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<JournalStore> waiting;
  for (const Part& part : parts_) waiting.push_back(part.store);
  return waiting;
}

}  // namespace farpage
