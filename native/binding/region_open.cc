// Opening and closing regions.
#include <functional>
#include <utility>

#include "binding/callback_source.h"
#include "binding/region_arguments.h"
#include "binding/remote_source.h"
#include "binding/settler.h"
#include "memory/mapped_memory.h"
#include "memory/staged_memory.h"
#include "stores/file_store.h"
#include "stores/fill_value_store.h"
#include "stores/kept_store.h"

namespace farpage::binding {
namespace {

uint64_t FramesOf(const Napi::Object& options) {
  const uint64_t bytes = NumberOf(options, "residentBytes");
  return bytes == 0 ? ~uint64_t{0} >> 1 : std::max<uint64_t>(bytes >> kPageShift, 1);
}

// The parts of a source that JavaScript has to do with; at most one of them.
struct Source {
  RemoteStore* remote = nullptr;
  CallbackStore* callback = nullptr;
};

// What a region will be opened from. Decided here, on the JavaScript thread; opened by whoever
// allocates it, perhaps much later, while that thread is blocked.
using StoreOpener = std::function<Result<std::unique_ptr<PageStore>>()>;

struct StagedPlan {
  AtomicSync* syncs = nullptr;  // the pager's, which outlives its regions
  Region::Options region;
  StoreOpener source;
  std::string keep;
  bool make = false;
  MemoryFiles::Options memory;  // no directory: a memfd
};

// A store that is open already, for the one try there can be.
StoreOpener Opened(std::unique_ptr<PageStore> store) {
  auto holder = std::make_shared<std::unique_ptr<PageStore>>(std::move(store));
  return [holder]() -> Result<std::unique_ptr<PageStore>> {
    if (*holder == nullptr) return Error{Code::kAddressSpace, 0, "no second try"};
    return std::move(*holder);
  };
}

Result<std::shared_ptr<Region>> Assemble(const Region::Options& options,
                                         std::unique_ptr<PageStore> store,
                                         std::unique_ptr<RegionMemory> memory,
                                         std::unique_ptr<MemoryFiles> files = nullptr) {
  const uint64_t pages = (options.size_bytes + kPageBytes - 1) >> kPageShift;
  auto table = files == nullptr ? PageTable::Create(pages)
                                : PageTable::Over(std::move(files), pages);
  if (!table.ok()) return table.error();
  return std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                  std::move(memory));
}

// The handle of a region that is allocated when it is first touched (`reserve`), or now.
Napi::Value Reserve(Napi::Env env, const std::shared_ptr<PagerObject>& pager,
                    const Napi::Object& options, const Region::Options& native,
                    Reservation::Opener open, const Source& source = {}) {
  std::shared_ptr<AllocationAccount> account = pager->pager.account();
  if (options.Get("account").IsObject()) {
    const auto given = Unwrap<AccountObject>(options.Get("account"));
    if (given == nullptr) return env.Undefined();
    account = given->account;
  }
  auto reservation = std::make_shared<Reservation>(native.size_bytes, native.writable,
                                                   std::move(account), std::move(open),
                                                   native.protection);
  if (!FlagOf(options, "reserve")) {
    if (Status allocated = pager->pager.Allocate(reservation); !allocated.ok()) {
      return Throw(env, allocated.error());
    }
  }
  auto object = std::make_shared<RegionObject>(pager, std::move(reservation));
  object->remote = source.remote;
  object->callback = source.callback;
  return MakeHandle(env, HandleKind::kRegion, std::move(object));
}

Result<std::shared_ptr<Region>> OpenMapped(AtomicSync* syncs, const Region::Options& options,
                                           const FileStore::Options& file) {
  auto store = FileStore::Open(file);
  if (!store.ok()) return store.error();
  if (Status whole = syncs->Admit(*store.value(), options.size_bytes); !whole.ok()) {
    return whole.error();
  }
  auto memory = MappedMemory::Create(store.value()->fd(), file.offset_bytes, options.size_bytes,
                                     options.writable);
  if (!memory.ok()) return memory.error();
  return Assemble(options, std::move(store).value(), std::move(memory).value());
}

Napi::Value RegionOpenFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto pager = OpenPager(info);
  if (pager == nullptr) return env.Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  FileStore::Options file;
  file.path = TextOf(options, "path");
  file.offset_bytes = NumberOf(options, "offset");
  file.length_bytes = NumberOf(options, "lengthBytes");
  file.writable = TextOf(options, "access") == "read-write";
  file.known = FlagOf(options, "known");
  Region::Options native{file.length_bytes, file.writable, FlagOf(options, "writeBehind"),
                         FramesOf(options), false, std::make_shared<Protection>()};
  if (file.length_bytes == 0) {
    // To the end of the file, wherever that is now.
    if (FlagOf(options, "reserve")) return Throw(env, {Code::kArgument, 0, "reserve no bytes"});
    auto store = FileStore::Open(file);
    if (!store.ok()) return Throw(env, store.error());
    native.size_bytes = file.length_bytes = store.value()->length_bytes();
  }
  AtomicSync* const syncs = &pager->pager.atomic_sync();
  return Reserve(env, pager, options, native,
                 [syncs, native, file] { return OpenMapped(syncs, native, file); });
}

// How to open the store that a staged region's pages come from first. What needs JavaScript is
// opened now and cannot be reserved.
Result<StoreOpener> PlanSource(const Napi::Object& source, bool writable, Source* found) {
  const std::string kind = TextOf(source, "kind");
  if (kind == "zero" || kind == "one") {
    const auto value = kind == "one" ? FillValueStore::Value::kOne : FillValueStore::Value::kZero;
    return StoreOpener([value] {
      return Result<std::unique_ptr<PageStore>>(std::make_unique<FillValueStore>(value));
    });
  }
  if (kind == "file") {
    FileStore::Options file{TextOf(source, "path"), NumberOf(source, "offset"),
                            NumberOf(source, "lengthBytes"), writable};
    file.known = FlagOf(source, "known");
    return StoreOpener([file]() -> Result<std::unique_ptr<PageStore>> {
      auto store = FileStore::Open(file);
      if (!store.ok()) return store.error();
      return std::unique_ptr<PageStore>(std::move(store).value());
    });
  }
  if (kind == "remote" && source.Get("needDoor").IsFunction()) {
    auto store = OpenRemoteSource(source);
    found->remote = store.get();
    return Opened(std::move(store));
  }
  if (kind == "callback" && source.Get("ring").IsFunction()) {
    auto store = OpenCallbackSource(source);
    found->callback = store.get();
    return Opened(std::move(store));
  }
  if (kind == "none") {
    return StoreOpener([] { return Result<std::unique_ptr<PageStore>>(nullptr); });
  }
  return Error{Code::kArgument, 0, "a source of an unknown kind"};
}

// A memfd, or the files of a memory directory where the plan names one.
Result<std::unique_ptr<StagedMemory>> OpenMemory(const StagedPlan& plan, PageStore* store,
                                                 std::unique_ptr<MemoryFiles>* files) {
  const uint64_t size = plan.region.size_bytes;
  if (plan.memory.directory.empty()) return StagedMemory::Create(size, store);
  MemoryFiles::Options where = plan.memory;
  where.store = store->Identity();
  auto opened = MemoryFiles::Open(where);
  if (!opened.ok()) return opened.error();
  *files = std::move(opened).value();
  if (Status adopted = (*files)->Adopt(plan.region.writable); !adopted.ok()) {
    return adopted.error();
  }
  return StagedMemory::Over((*files)->TakeMemory(), size, store);
}

Result<std::shared_ptr<Region>> OpenStaged(const StagedPlan& plan) {
  auto source = plan.source();
  if (!source.ok()) return source.error();
  std::unique_ptr<PageStore> store = std::move(source).value();
  if (!plan.keep.empty()) {
    auto kept = KeptStore::Open(plan.keep, plan.region.size_bytes, plan.make, std::move(store));
    if (!kept.ok()) return kept.error();
    store = std::move(kept).value();
  }
  if (store == nullptr) return Error{Code::kArgument, 0, "a region without a source"};
  // Before its identity is taken: the part of a sync that waits for it changes its time.
  if (Status whole = plan.syncs->Admit(*store, plan.region.size_bytes); !whole.ok()) {
    return whole.error();
  }
  std::unique_ptr<MemoryFiles> files;
  auto memory = OpenMemory(plan, store.get(), &files);
  if (!memory.ok()) return memory.error();
  return Assemble(plan.region, std::move(store), std::move(memory).value(), std::move(files));
}

Napi::Value RegionOpenStaged(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto pager = OpenPager(info);
  if (pager == nullptr) return env.Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const uint64_t size = NumberOf(options, "lengthBytes");
  if (size == 0) return Throw(env, {Code::kArgument, 0, "a region of no bytes"});
  const bool writable = TextOf(options, "access") != "read-only";
  Source answered;
  auto source = PlanSource(ObjectOf(options.Get("source")), writable, &answered);
  if (!source.ok()) return Throw(env, source.error());
  StagedPlan plan;
  plan.source = std::move(source).value();
  plan.keep = TextOf(options, "keep");
  plan.make = FlagOf(options, "make");
  plan.syncs = &pager->pager.atomic_sync();
  // Memory pressure may write the appliance's own file, never a user's, nor half of a sync.
  const bool atomic = FlagOf(options, "atomic");
  plan.region = {size, writable, !plan.keep.empty() && !atomic, FramesOf(options), atomic,
                 std::make_shared<Protection>()};
  const Napi::Object where = ObjectOf(options.Get("memory"));
  plan.memory = {TextOf(where, "directory"), TextOf(where, "id"), TextOf(where, "bootId"), size,
                 {}, NumberOf(where, "life"), NumberOf(where, "nextLife"),
                 NumberOf(where, "chargedPages")};
  if (FlagOf(options, "reserve") && plan.make) {
    // The file is made now, and open to nobody: that there is none later means that it was lost.
    auto made = KeptStore::Open(plan.keep, size, true, nullptr);
    if (!made.ok()) return Throw(env, made.error());
    plan.make = false;
  }
  const Region::Options native = plan.region;
  return Reserve(env, pager, options, native, [plan] { return OpenStaged(plan); }, answered);
}

void RegionClose(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<RegionObject>(info[0])) object->Close();
}

// What is under way at the region's store may take as long as that hangs: only this waits for it.
Napi::Value RegionEnd(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<RegionObject>(info[0]);
  if (object == nullptr) return info.Env().Undefined();
  auto settler = std::make_shared<Settler>(info.Env(), "farpage region end");
  const Napi::Promise promise = settler->promise();
  // What JavaScript's objects hold ends on JavaScript's thread.
  const auto settle = [object, settler] {
    settler->Settle(true, [object](Napi::Env env) { return env.Undefined(); });
  };
  const auto ending = object->BeginClose();
  if (ending == nullptr) {
    settle();
    return promise;
  }
  Pager& pager = object->pager->pager;
  const auto end = [ending, settle, &pager] {
    pager.EndReservation(ending);
    settle();
  };
  // Where nobody has a thread for it, this one waits.
  if (object->pager->requests.Submit(ending.get(), end) != Code::kOk) end();
  return promise;
}

}  // namespace

void ExportRegionOpen(Napi::Env env, Napi::Object exports) {
  exports.Set("regionOpenFile", Napi::Function::New(env, RegionOpenFile));
  exports.Set("regionOpenStaged", Napi::Function::New(env, RegionOpenStaged));
  exports.Set("regionClose", Napi::Function::New(env, RegionClose));
  exports.Set("regionEnd", Napi::Function::New(env, RegionEnd));
}

}  // namespace farpage::binding
