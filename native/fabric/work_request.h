// What an initiator posts and what it learns: the verbs' work request and completion.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace farpage {

enum class Opcode : uint8_t { kRead = 0, kWrite = 1, kFetchAdd = 2, kCompareSwap = 3 };

// One operation. `local` is where READ bytes land or WRITE bytes come from and must stay valid
// until the completion; atomics use the operands and need none. Offsets are zero-based in the
// remote memory region. A READ of length 0 is a fence: it completes after every WRITE before it
// has been placed (RFC 5040 section 5.5).
struct WorkRequest {
  uint64_t id = 0;  // the caller's own, handed back in the completion
  Opcode opcode = Opcode::kRead;
  uint32_t stag = 0;
  uint64_t remote_offset = 0;
  uint32_t length_bytes = 0;
  std::byte* local = nullptr;
  uint64_t operand = 0;  // FETCH_ADD: what to add; COMPARE_SWAP: the value to store
  uint64_t compare = 0;  // COMPARE_SWAP: the value expected
};

// The fate of one work request. A WRITE completes with kOk once all of it was handed to the
// socket; that it was placed is known from a later READ, atomic or fence.
struct Completion {
  uint64_t id = 0;
  Code code = Code::kOk;
  int32_t terminate = -1;  // layer<<16 | type<<8 | code of the Terminate that ended it, or -1
  uint64_t old_value = 0;  // atomics: the value before
};

}  // namespace farpage
