// What the calls on regions and pagers have in common: their handles, ranges and failures.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "binding/arguments.h"
#include "binding/objects.h"

namespace farpage::binding {

inline Napi::Value Throw(Napi::Env env, const Error& error) {
  ThrowJsError(env, error);
  return env.Undefined();
}

// The open pager of the first argument, or null with an exception pending.
inline std::shared_ptr<PagerObject> OpenPager(const Napi::CallbackInfo& info) {
  auto pager = Unwrap<PagerObject>(info[0]);
  if (pager != nullptr && pager->closed) {
    Throw(info.Env(), {Code::kClosed, 0, "the pager is closed"});
    return nullptr;
  }
  return pager;
}

// The open region of the first argument, allocated or only reserved, or null with an exception
// pending.
inline std::shared_ptr<RegionObject> ReservedRegion(const Napi::CallbackInfo& info) {
  auto region = Unwrap<RegionObject>(info[0]);
  if (region != nullptr && region->closed) {
    Throw(info.Env(), {Code::kClosed, 0, "the region is closed"});
    return nullptr;
  }
  return region;
}

// The same, and it is allocated now if it was not.
inline std::shared_ptr<RegionObject> OpenRegion(const Napi::CallbackInfo& info) {
  auto region = ReservedRegion(info);
  if (region == nullptr || region->Look() != nullptr) return region;
  if (Status allocated = region->pager->pager.Allocate(region->reservation); !allocated.ok()) {
    Throw(info.Env(), allocated.error());
    return nullptr;
  }
  return region->Look() == nullptr ? nullptr : region;
}

// The pages of `offset` and `lengthBytes`, cut to the region; without them all of it.
inline PageRun RunOf(const RegionObject& object, const Napi::Object& options) {
  const uint64_t size = object.reservation->size_bytes;
  const uint64_t offset = std::min(NumberOf(options, "offset"), size);
  return PagesOf(offset, std::min(NumberOf(options, "lengthBytes", size), size - offset));
}

// Runs of pages as pairs of first page and count in a Float64Array; none of anything else.
std::vector<PageRun> RunsOf(const Napi::Value& value);

}  // namespace farpage::binding
