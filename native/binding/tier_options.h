// The tiers of a pager as JavaScript names them.
#pragma once

#include <napi.h>

#include <memory>

#include "base/result.h"
#include "stores/tier_stack.h"

namespace farpage::binding {

// Opens what `list` (TierOptions[] of region-options.ts) names, from the one nearest to memory on;
// null for none. Fails: kArgument, kMemoryFull, and what a spill folder fails with.
Result<std::shared_ptr<TierStack>> OpenTiers(const Napi::Value& list);

}  // namespace farpage::binding
