// Bounds of a promotion (Pager::Promote).
#pragma once

#include <cstdint>

namespace farpage {

// Pages that are claimed and asked for together, and those on their way at most: a peer is kept
// busy, and whoever touches one of them waits for no more than that.
inline constexpr uint64_t kPromoteRunPages = 64;
inline constexpr uint64_t kPromoteFlightPages = 256;

}  // namespace farpage
