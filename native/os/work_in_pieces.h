// Work of the pager that goes on beside answers, in short pieces where cores are short.
#pragma once

namespace farpage {

// Such work (a write-back to a device), for as long as it lives. Thread: any.
class WorkInPieces {
 public:
  WorkInPieces();
  ~WorkInPieces();
  WorkInPieces(const WorkInPieces&) = delete;
  WorkInPieces& operator=(const WorkInPieces&) = delete;
};

// Whether there is such work and cores are short (os/short_cores.h), so that each piece of it may
// keep who asks from asking again. Thread: any.
[[nodiscard]] bool WorksInPieces();

}  // namespace farpage
