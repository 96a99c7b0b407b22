// Expected failures as values: one closed list of codes, shared with src/errors.ts by name.
#pragma once

#include <cstdint>

namespace farpage {

// The codes the native side may report. The text of each is its key in the registry of
// src/errors.ts; a test compares the two lists at load, so a code missing there cannot ship.
enum class Code : uint8_t {
  kOk = 0,
  kArgument,
  kRange,
  kAlignment,
  kFileNotFound,
  kFileEmpty,
  kFileAccess,
  kFileKind,
  kFileLocked,
  kFileChanged,
  kRegionBusy,
  kRegionRemoved,
  kAccess,
  kStag,
  kBounds,
  kTicket,
  kQuota,
  kConnection,
  kProtocol,
  kAddressInUse,
  kSocketPath,
  kTimeout,
  kAborted,
  kOutcomeUnknown,
  kPageLost,
  kMemoryFull,
  kAddressSpace,
  kNoSpace,
  kIo,
  kClosed,
  kUnsupported,
  kSourceAway,
  kSourceChanged,
  kTierAway,
  kStateVersion,
  kInternal,
  kCount,
};

// The registry name of a code, for instance "ERR_PAGE_LOST". Never null.
constexpr const char* CodeName(Code code) {
  switch (code) {
    case Code::kOk: return "OK";
    case Code::kArgument: return "ERR_ARGUMENT";
    case Code::kRange: return "ERR_RANGE";
    case Code::kAlignment: return "ERR_ALIGNMENT";
    case Code::kFileNotFound: return "ERR_FILE_NOT_FOUND";
    case Code::kFileEmpty: return "ERR_FILE_EMPTY";
    case Code::kFileAccess: return "ERR_FILE_ACCESS";
    case Code::kFileKind: return "ERR_FILE_KIND";
    case Code::kFileLocked: return "ERR_FILE_LOCKED";
    case Code::kFileChanged: return "ERR_FILE_CHANGED";
    case Code::kRegionBusy: return "ERR_REGION_BUSY";
    case Code::kRegionRemoved: return "ERR_REGION_REMOVED";
    case Code::kAccess: return "ERR_ACCESS";
    case Code::kStag: return "ERR_STAG";
    case Code::kBounds: return "ERR_BOUNDS";
    case Code::kTicket: return "ERR_TICKET";
    case Code::kQuota: return "ERR_QUOTA";
    case Code::kConnection: return "ERR_CONNECTION";
    case Code::kProtocol: return "ERR_PROTOCOL";
    case Code::kAddressInUse: return "ERR_ADDRESS_IN_USE";
    case Code::kSocketPath: return "ERR_SOCKET_PATH";
    case Code::kTimeout: return "ERR_TIMEOUT";
    case Code::kAborted: return "ERR_ABORTED";
    case Code::kOutcomeUnknown: return "ERR_OUTCOME_UNKNOWN";
    case Code::kPageLost: return "ERR_PAGE_LOST";
    case Code::kMemoryFull: return "ERR_MEMORY_FULL";
    case Code::kAddressSpace: return "ERR_ADDRESS_SPACE";
    case Code::kNoSpace: return "ERR_NO_SPACE";
    case Code::kIo: return "ERR_IO";
    case Code::kClosed: return "ERR_CLOSED";
    case Code::kUnsupported: return "ERR_UNSUPPORTED";
    case Code::kSourceAway: return "ERR_SOURCE_AWAY";
    case Code::kSourceChanged: return "ERR_SOURCE_CHANGED";
    case Code::kTierAway: return "ERR_TIER_AWAY";
    case Code::kStateVersion: return "ERR_STATE_VERSION";
    case Code::kInternal:
    case Code::kCount: break;
  }
  return "ERR_INTERNAL";
}

}  // namespace farpage
