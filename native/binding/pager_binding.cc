#include <algorithm>
#include <limits>

#include "binding/region_arguments.h"
#include "binding/tier_options.h"
#include "memory/memory_files.h"
#include "os/process_memory.h"

namespace farpage::binding {
namespace {

constexpr uint64_t kFillThreadsMax = 64;

Napi::Value PagerOpen(const Napi::CallbackInfo& info) {
  const Napi::Object options = ObjectOf(info[0]);
  Pager::Options native;
  native.frames_max = std::max<uint64_t>(NumberOf(options, "memoryBytes") >> kPageShift, 1);
  native.fill_threads = static_cast<uint32_t>(
      std::clamp<uint64_t>(NumberOf(options, "fillThreads", 16), 1, kFillThreadsMax));
  native.read_ahead_pages_max = static_cast<uint32_t>(
      std::min<uint64_t>(NumberOf(options, "readAheadBytes") >> kPageShift, 4096));
  native.allocated_bytes_max =
      NumberOf(options, "allocatedBytesMax", AllocationAccount::kUnbounded);
  const uint64_t tick_ms = NumberOf(options, "ageTickMs", kUseTickNs / 1'000'000);
  native.use_tick_ns = tick_ms * 1'000'000;
  auto tiers = OpenTiers(options.Get("tiers"));
  if (!tiers.ok()) return Throw(info.Env(), tiers.error());
  auto object = std::make_shared<PagerObject>(native);
  object->pager.UseTiers(std::move(tiers.value().stack));
  object->tiers_elsewhere = std::move(tiers.value().appliances);
  return MakeHandle(info.Env(), HandleKind::kPager, std::move(object));
}

// The bound of an account; Infinity where it has none.
Napi::Value BytesMax(Napi::Env env, const AllocationAccount& account) {
  const bool unbounded = account.bytes_max() == AllocationAccount::kUnbounded;
  return Napi::Number::New(env, unbounded ? std::numeric_limits<double>::infinity()
                                          : static_cast<double>(account.bytes_max()));
}

Napi::Value PagerStats(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<PagerObject>(info[0]);
  if (object == nullptr) return info.Env().Undefined();
  Pager& pager = object->pager;
  uint64_t present = 0;
  uint64_t dirty = 0;
  uint64_t accounted = pager.budget().all_tables() << kPageShift;
  uint64_t in_files = 0;
  for (RegionObject* each : object->regions) {
    const Region* region = each->Look();
    if (region == nullptr) continue;
    present += region->table->present();
    // Words in the memory directory are memory of a file.
    if (const MemoryFiles* files = region->table->files(); files != nullptr) {
      in_files += files->word_bytes();
    }
    dirty += region->table->dirty();
    // Of a mapped file, pages that were written are private copies: memory of no file.
    if (region->memory != nullptr && region->memory->has_private_copies()) {
      accounted += region->table->dirty() << kPageShift;
    }
  }
  const TierStack* tiers = pager.tiers();
  for (size_t n = 0; tiers != nullptr && n < tiers->size(); n++) {
    if (tiers->tier(n).gets_in_place()) accounted += tiers->tier(n).used_bytes();
  }
  accounted -= std::min(accounted, in_files);
  const ProcessMemory process = ProcessMemory::Now();
  const uint64_t resident = process.anonymous_bytes + process.table_bytes;
  Napi::Object stats = Napi::Object::New(info.Env());
  const auto put = [&](const char* name, uint64_t value) {
    stats.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
  };
  put("memoryBytes", pager.budget().max() << kPageShift);
  put("pageBytes", pager.budget().pages() << kPageShift);
  put("tableBytes", pager.budget().all_tables() << kPageShift);
  put("ownBytes", resident - std::min(resident, accounted));
  const AllocationAccount& account = *pager.account();
  put("allocatedBytes", account.bytes());
  stats.Set("allocatedBytesMax", BytesMax(info.Env(), account));
  put("mappedBytes", pager.allocator().mapped_bytes());
  put("parkedRegions", pager.allocator().parked());
  put("presentPages", present);
  put("dirtyPages", dirty);
  put("evictedPages", pager.evicted_pages());
  put("gracePeriods", pager.shootdown().grace_periods());
  put("queuedFaults", pager.queued_faults());
  put("frozenCopies", pager.atomic_sync().images());
  put("ageTickMs", pager.use_tick_ns() / 1'000'000);
  put("ageMaxMs", pager.AgeMaxNs() / 1'000'000);
  return stats;
}

void PagerChargeFound(const Napi::CallbackInfo& info) {
  const auto pager = OpenPager(info);
  if (pager != nullptr) pager->pager.ChargeFound(info[1].ToNumber().Int64Value());
}

// Of a region that is not open.
Napi::Value MemoryFound(const Napi::CallbackInfo& info) {
  const Napi::Object where = ObjectOf(info[0]);
  MemoryFiles::Options options;
  options.directory = TextOf(where, "directory");
  options.id = TextOf(where, "id");
  options.boot_id = TextOf(where, "bootId");
  const FoundPages found = MemoryFiles::Look(options);
  Napi::Object told = Napi::Object::New(info.Env());
  told.Set("present", static_cast<double>(found.present));
  told.Set("dirty", static_cast<double>(found.dirty));
  return told;
}

void PagerReturnFound(const Napi::CallbackInfo& info) {
  const auto pager = Unwrap<PagerObject>(info[0]);
  if (pager != nullptr) pager->pager.ReturnFound(info[1].ToNumber().Int64Value());
}

Napi::Value AccountOpen(const Napi::CallbackInfo& info) {
  const auto pager = OpenPager(info);
  if (pager == nullptr) return info.Env().Undefined();
  const uint64_t bytes =
      NumberOf(ObjectOf(info[1]), "bytesMax", AllocationAccount::kUnbounded);
  auto account = std::make_shared<AllocationAccount>(bytes, pager->pager.account());
  return MakeHandle(info.Env(), HandleKind::kAccount,
                    std::make_shared<AccountObject>(std::move(account)));
}

void PagerClose(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<PagerObject>(info[0])) object->Close();
}

}  // namespace

void ExportPager(Napi::Env env, Napi::Object exports) {
  exports.Set("pagerOpen", Napi::Function::New(env, PagerOpen));
  exports.Set("pagerStats", Napi::Function::New(env, PagerStats));
  exports.Set("accountOpen", Napi::Function::New(env, AccountOpen));
  exports.Set("pagerChargeFound", Napi::Function::New(env, PagerChargeFound));
  exports.Set("memoryFound", Napi::Function::New(env, MemoryFound));
  exports.Set("pagerReturnFound", Napi::Function::New(env, PagerReturnFound));
  exports.Set("pagerClose", Napi::Function::New(env, PagerClose));
}

}  // namespace farpage::binding
