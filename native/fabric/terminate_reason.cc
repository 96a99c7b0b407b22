#include "fabric/terminate_reason.h"

namespace farpage {

Code CodeOfTerminate(TerminateCode code, bool atomic) {
  constexpr TerminateCode kStagCodes[] = {kTermReadStag, kTermReadStream, kTermWriteStag,
                                          kTermWriteStream};
  for (const TerminateCode one : kStagCodes) {
    if (code == one) return Code::kStag;
  }
  constexpr TerminateCode kBoundsCodes[] = {kTermReadBounds, kTermReadWrap, kTermWriteBounds,
                                            kTermWriteWrap};
  for (const TerminateCode one : kBoundsCodes) {
    if (code == one) return Code::kBounds;
  }
  if (code == kTermReadAccess) return Code::kAccess;
  if (code == kTermLocal) return atomic ? Code::kAlignment : Code::kIo;
  return Code::kProtocol;
}

}  // namespace farpage
