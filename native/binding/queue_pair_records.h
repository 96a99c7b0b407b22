// The records that requests and completions cross the border as; their layout is fixed by the
// `QueuePair` of src/native/binding.ts.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "fabric/work_request.h"

namespace farpage {

// Eight words of eight bytes; JavaScript writes the first six as doubles.
struct RequestRecord {
  double opcode;
  double slot;
  double stag;
  double remote_offset;
  double length;
  double staging_offset;  // -1: the memory attached to the slot
  uint64_t operands[2];   // FETCH_ADD: addend; COMPARE_SWAP: expected value, new value
};
static_assert(sizeof(RequestRecord) == 64);

struct CompletionRecord {
  double slot;
  double code;       // index into errorCodes
  double terminate;  // layer<<16 | type<<8 | code, or -1
  uint64_t old_value;
};
static_assert(sizeof(CompletionRecord) == 32);

// A number that JavaScript holds as a double, when it is a whole one of 0..`most` (below 2^53).
inline bool ToWhole(double value, uint64_t most, uint64_t* whole) {
  if (!(value >= 0 && value <= static_cast<double>(most))) return false;
  if (value != std::floor(value)) return false;
  *whole = static_cast<uint64_t>(value);
  return true;
}

// Memory that a record may name.
struct RecordMemory {
  std::byte* base = nullptr;
  uint64_t bytes = 0;
};

// Judges a record and makes it a work request, whose id is the slot. False: a field is out of range
// or the memory is too small for the length.
inline bool ToWorkRequest(const RequestRecord& record, uint32_t slots, const RecordMemory& staging,
                          const RecordMemory* attached, WorkRequest* request) {
  constexpr uint64_t kSafeInteger = (uint64_t{1} << 53) - 1;
  uint64_t opcode = 0;
  uint64_t slot = 0;
  uint64_t stag = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
  if (!ToWhole(record.opcode, 3, &opcode) || !ToWhole(record.slot, slots - 1, &slot) ||
      !ToWhole(record.stag, UINT32_MAX, &stag) ||
      !ToWhole(record.remote_offset, kSafeInteger, &offset) ||
      !ToWhole(record.length, UINT32_MAX, &length)) {
    return false;
  }
  *request = {};
  request->id = slot;
  request->opcode = static_cast<Opcode>(opcode);
  request->stag = static_cast<uint32_t>(stag);
  request->remote_offset = offset;
  request->length_bytes = static_cast<uint32_t>(length);
  if (request->opcode == Opcode::kFetchAdd) {
    request->operand = record.operands[0];
    return true;
  }
  if (request->opcode == Opcode::kCompareSwap) {
    request->compare = record.operands[0];
    request->operand = record.operands[1];
    return true;
  }
  if (record.staging_offset == -1) {
    const RecordMemory& memory = attached[slot];
    request->local = memory.base;
    return length <= memory.bytes;
  }
  uint64_t at = 0;
  if (!ToWhole(record.staging_offset, staging.bytes, &at)) return false;
  request->local = staging.base + at;
  return length <= staging.bytes - at;
}

}  // namespace farpage
