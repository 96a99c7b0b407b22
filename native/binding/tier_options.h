// The tiers of a pager as JavaScript names them.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "base/result.h"
#include "fabric/remote_tier.h"
#include "stores/tier_stack.h"

namespace farpage::binding {

struct OpenedTiers {
  std::shared_ptr<TierStack> stack;      // null for none
  std::vector<RemoteTier*> appliances;  // by their place in the stack, null for other kinds
};

// Opens what `list` (TierOptions[] of region-options.ts) names, from the one nearest to memory on.
// Nobody else is contacted. Fails: kArgument, kMemoryFull, and what a spill folder fails with.
Result<OpenedTiers> OpenTiers(const Napi::Value& list);

}  // namespace farpage::binding
