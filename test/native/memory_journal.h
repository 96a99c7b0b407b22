// The files of a journal, in memory.
#pragma once

#include <array>
#include <string>

#include "recording.h"
#include "stores/journal_folder.h"

namespace farpage::test {

struct MemoryJournal {
  // Which segment a file of that path is.
  static size_t SegmentOf(const std::string& path) {
    const std::string mark = "-segment-";
    const size_t at = path.rfind(mark);
    return at == std::string::npos ? 0 : std::stoul(path.substr(at + mark.size()));
  }
  // Makes files that last as long as this. In the recording the one of segment n is `first` + n.
  OpenJournalFile Opener(Recording* recording = nullptr, int first = 0) {
    return [=, this](const std::string& path, bool make) -> Result<std::unique_ptr<JournalFile>> {
      const size_t n = SegmentOf(path);
      if (!make && segments[n].empty()) return Error{Code::kFileNotFound, ENOENT, "no segment"};
      auto file = std::make_unique<MemoryJournalFile>(&segments[n], recording,
                                                      first + static_cast<int>(n));
      files[n] = file.get();
      return std::unique_ptr<JournalFile>(std::move(file));
    };
  }

  std::array<Bytes, kJournalSegmentsMax> segments;
  std::array<MemoryJournalFile*, kJournalSegmentsMax> files{};
};

}  // namespace farpage::test
