// What there is to know of a region: figures, what it found at its start, a picture.
#include <array>

#include "binding/region_arguments.h"
#include "pager/page_map.h"

namespace farpage::binding {
namespace {

// What a region that is only reserved has none of.
constexpr std::array kRegionFigures = {
    "presentPages",      "dirtyPages",        "writtenPages",     "lostPages",
    "elsewherePages",    "unreachablePages",
    "maxFrames",         "usedFrames",        "tablePages",
    "bypassedOperations", "faultedOperations",
    "operationBytes",
    "filledPages",       "filledBytes",       "readPages",        "writtenBackPages",
    "writtenBackBytes"};

Napi::Value RegionStats(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Env env = info.Env();
  Napi::Object stats = Napi::Object::New(env);
  const auto put = [&](const char* name, uint64_t value) {
    stats.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  put("size", object->reservation->size_bytes);
  put("pageSize", kPageBytes);
  put("allocatedBytes", object->reservation->allocated_bytes());
  const Code failure = object->reservation->failure.load(std::memory_order_relaxed);
  stats.Set("failure", failure == Code::kOk ? env.Null()
                                            : Napi::String::New(env, CodeName(failure)));
  stats.Set("address", Napi::BigInt::New(env, static_cast<uint64_t>(object->Address())));
  put("pinnedPages", object->reservation->pins->pages());
  put("totalPages", (object->reservation->size_bytes + kPageBytes - 1) >> kPageShift);
  stats.Set("writeBackFailure", env.Null());
  if (object->Look() == nullptr) {
    for (const char* name : kRegionFigures) put(name, 0);
    stats.Set("sourceConnected", Napi::Boolean::New(env, false));
    return stats;
  }
  Region& region = *object->region;
  object->pager->pager.AwaitLent(region);
  uint64_t bypassed = 0;
  uint64_t faulted = 0;
  uint64_t bytes = 0;
  for (const OperationCounters& lane : region.operations) {
    bypassed += lane.bypassed.load(std::memory_order_relaxed);
    faulted += lane.faulted.load(std::memory_order_relaxed);
    bytes += lane.bytes.load(std::memory_order_relaxed);
  }
  put("presentPages", region.table->present());
  put("dirtyPages", region.table->dirty());
  put("writtenPages", region.table->written());
  put("lostPages", region.table->lost());
  put("elsewherePages", region.table->elsewhere());
  put("unreachablePages", region.overlay == nullptr ? 0 : region.overlay->unreachable_pages());
  put("maxFrames", std::min({region.frames.max(), object->pager->pager.budget().max(),
                             region.table->pages()}));
  put("usedFrames", region.frames.used());
  const uint64_t entries = region.overlay == nullptr ? 0 : region.overlay->table_pages();
  put("tablePages", region.table->tables().charged() + entries);
  put("bypassedOperations", bypassed);
  put("faultedOperations", faulted);
  put("operationBytes", bytes);
  put("filledPages", region.fills.filled_pages.load(std::memory_order_relaxed));
  put("filledBytes", region.fills.filled_pages.load(std::memory_order_relaxed) << kPageShift);
  // A kept file counts what it read itself; the store below it, the rest.
  const PageStore* source = object->remote;
  if (source == nullptr) source = object->callback;
  const bool below = source != nullptr && source != region.store.get();
  put("readPages", region.store->pages_read() + (below ? source->pages_read() : 0));
  put("writtenBackPages", region.fills.written_back_pages.load(std::memory_order_relaxed));
  put("writtenBackBytes", region.fills.written_back_bytes.load(std::memory_order_relaxed));
  const Code unwritten = region.fills.write_back_failure.load(std::memory_order_relaxed);
  if (unwritten != Code::kOk) {
    stats.Set("writeBackFailure", Napi::String::New(env, CodeName(unwritten)));
  }
  const bool connected = object->remote != nullptr && object->remote->connected();
  stats.Set("sourceConnected", Napi::Boolean::New(env, connected));
  return stats;
}

// What was found in the memory directory when the region was allocated; null without one, and
// while it is only reserved.
Napi::Value RegionAdoption(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = ReservedRegion(info);
  if (object == nullptr) return env.Undefined();
  if (object->Look() == nullptr) return env.Null();
  const MemoryFiles* files = object->region->table->files();
  if (files == nullptr) return env.Null();
  static constexpr std::array kOutcomes = {"made", "adopted", "discarded", "conflict",
                                      "stale"};
  const AdoptionReport& report = files->report();
  Napi::Object found = Napi::Object::New(env);
  const auto put = [&](const char* name, uint64_t value) {
    found.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  found.Set("outcome", kOutcomes[static_cast<size_t>(report.outcome)]);
  put("cleanPages", report.clean_pages);
  put("dirtyPages", report.dirty_pages);
  put("repairedPages", report.repaired_pages);
  put("droppedPages", report.dropped_pages);
  put("conflictPages", report.conflict_pages);
  Napi::Array runs = Napi::Array::New(env, report.conflicts.size());
  for (uint32_t n = 0; n < report.conflicts.size(); n++) {
    Napi::Array run = Napi::Array::New(env, 2);
    run.Set(0u, static_cast<double>(report.conflicts[n].offset_bytes()));
    run.Set(1u, static_cast<double>(report.conflicts[n].length_bytes()));
    runs.Set(n, run);
  }
  found.Set("conflicts", runs);
  found.Set("conflictFile", report.conflict_file);
  return found;
}

Napi::Value RegionPageMap(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const uint64_t cells = std::clamp<uint64_t>(NumberOf(options, "cells", 64), 1, kPageMapCellsMax);
  auto map = Napi::Uint8Array::New(info.Env(), cells);
  if (object->Look() == nullptr) return map;
  object->pager->pager.AwaitLent(*object->region);
  (void)DrawPageMap(*object->region, object->pager->pager.evictor(), RunOf(*object, options),
                    {map.Data(), cells});
  return map;
}

}  // namespace

void ExportRegionStats(Napi::Env env, Napi::Object exports) {
  exports.Set("regionAdoption", Napi::Function::New(env, RegionAdoption));
  exports.Set("regionStats", Napi::Function::New(env, RegionStats));
  exports.Set("regionPageMap", Napi::Function::New(env, RegionPageMap));
}

}  // namespace farpage::binding
