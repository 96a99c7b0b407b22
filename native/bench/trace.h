// Made traces of pages: what a cache meets, the same for a policy's model and for an appliance.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace farpage::bench {

// All of them have a popularity of 1 / rank^0.99 at their bottom, in random places. `zipf+scan`:
// every other access is of somebody who reads everything in order; `zipf+bursts`: now and then half
// of it is read in one go; `moving`: eight times another hot set.
inline constexpr const char* kTraces = "zipf,zipf+scan,zipf+bursts,moving";

// `length` pages below `pages`; the same for the same seed.
std::vector<uint64_t> MakeTrace(const std::string& name, uint64_t pages, uint64_t length,
                                uint64_t seed);

}  // namespace farpage::bench
