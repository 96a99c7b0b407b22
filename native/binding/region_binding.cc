#include <array>
#include <functional>
#include <utility>

#include "binding/arguments.h"
#include "binding/objects.h"
#include "binding/page_map.h"
#include "binding/remote_source.h"
#include "memory/mapped_memory.h"
#include "memory/staged_memory.h"
#include "stores/file_store.h"
#include "stores/fill_value_store.h"
#include "stores/kept_store.h"

namespace farpage::binding {
namespace {

// A promise that a native thread settles. The thread-safe function keeps the process alive until
// then; when the environment ends first, the answer is dropped with it.
class Settler {
 public:
  using Make = std::function<Napi::Value(Napi::Env)>;

  Settler(Napi::Env env, const char* name)
      : deferred_(Napi::Promise::Deferred::New(env)),
        call_(Napi::ThreadSafeFunction::New(
            env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), name, 0, 1)) {}

  [[nodiscard]] Napi::Promise promise() const { return deferred_.Promise(); }

  // Thread: any, once.
  void Settle(bool resolved, Make make) {
    auto deferred = deferred_;
    call_.NonBlockingCall([deferred, resolved, make](Napi::Env env, Napi::Function) {
      if (env == nullptr) return;
      Napi::HandleScope scope(env);
      if (resolved) {
        deferred.Resolve(make(env));
      } else {
        deferred.Reject(make(env));
      }
    });
    call_.Release();
  }

 private:
  Napi::Promise::Deferred deferred_;
  Napi::ThreadSafeFunction call_;
};

uint64_t FramesOf(const Napi::Object& options) {
  const uint64_t bytes = NumberOf(options, "residentBytes");
  return bytes == 0 ? ~uint64_t{0} >> 1 : std::max<uint64_t>(bytes >> kPageShift, 1);
}

Napi::Value Throw(Napi::Env env, const Error& error) {
  MakeJsError(env, error).ThrowAsJavaScriptException();
  return env.Undefined();
}

std::shared_ptr<PagerObject> OpenPager(const Napi::CallbackInfo& info) {
  auto pager = Unwrap<PagerObject>(info[0]);
  if (pager != nullptr && pager->closed) {
    Throw(info.Env(), {Code::kClosed, 0, "the pager is closed"});
    return nullptr;
  }
  return pager;
}

std::shared_ptr<RegionObject> OpenRegion(const Napi::CallbackInfo& info) {
  auto region = Unwrap<RegionObject>(info[0]);
  if (region != nullptr && region->closed) {
    Throw(info.Env(), {Code::kClosed, 0, "the region is closed"});
    return nullptr;
  }
  return region;
}

Napi::Value Open(Napi::Env env, const std::shared_ptr<PagerObject>& pager,
                 const Region::Options& options, std::unique_ptr<PageStore> store,
                 std::unique_ptr<RegionMemory> memory,
                 std::unique_ptr<MemoryFiles> files = nullptr,
                 RemoteStore* remote = nullptr) {
  const uint64_t pages = (options.size_bytes + kPageBytes - 1) >> kPageShift;
  auto table = files == nullptr ? PageTable::Create(pages)
                                : PageTable::Over(std::move(files), pages);
  if (!table.ok()) return Throw(env, table.error());
  auto region = std::make_shared<Region>(options, std::move(table).value(), std::move(store),
                                         std::move(memory));
  auto object = std::make_shared<RegionObject>(pager, std::move(region));
  object->remote = remote;
  return MakeHandle(env, HandleKind::kRegion, std::move(object));
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
  auto store = FileStore::Open(file);
  if (!store.ok()) return Throw(env, store.error());
  auto memory = MappedMemory::Create(store.value()->fd(), file.offset_bytes,
                                     store.value()->length_bytes(), file.writable);
  if (!memory.ok()) return Throw(env, memory.error());
  const Region::Options native{store.value()->length_bytes(), file.writable,
                               FlagOf(options, "writeBehind"), FramesOf(options)};
  return Open(env, pager, native, std::move(store).value(), std::move(memory).value());
}

// The store that a staged region's pages come from first.
Result<std::unique_ptr<PageStore>> OpenSource(const Napi::Object& source, bool writable) {
  const std::string kind = TextOf(source, "kind");
  if (kind == "zero" || kind == "one") {
    const auto value = kind == "one" ? FillValueStore::Value::kOne : FillValueStore::Value::kZero;
    return std::unique_ptr<PageStore>(std::make_unique<FillValueStore>(value));
  }
  if (kind == "file") {
    auto file = FileStore::Open({TextOf(source, "path"), NumberOf(source, "offset"),
                                 NumberOf(source, "lengthBytes"), writable});
    if (!file.ok()) return file.error();
    return std::unique_ptr<PageStore>(std::move(file).value());
  }
  if (kind == "remote" && source.Get("needDoor").IsFunction()) {
    return std::unique_ptr<PageStore>(OpenRemoteSource(source));
  }
  if (kind == "none") return std::unique_ptr<PageStore>();
  return Error{Code::kArgument, 0, "a source of an unknown kind"};
}

// A memfd, or the files of a memory directory where `where` names one.
Result<std::unique_ptr<StagedMemory>> OpenMemory(const Napi::Object& where,
                                                 std::pair<uint64_t, bool> size_and_writable,
                                                 PageStore* store,
                                                 std::unique_ptr<MemoryFiles>* files) {
  const auto [size, writable] = size_and_writable;
  const std::string directory = TextOf(where, "directory");
  if (directory.empty()) return StagedMemory::Create(size, store);
  auto opened = MemoryFiles::Open(
      {directory, TextOf(where, "id"), TextOf(where, "bootId"), size, store->Identity()});
  if (!opened.ok()) return opened.error();
  *files = std::move(opened).value();
  if (Status adopted = (*files)->Adopt(writable); !adopted.ok()) return adopted.error();
  auto file = (*files)->Memory();
  if (!file.ok()) return file.error();
  return StagedMemory::Over(std::move(file).value(), size, store);
}

Napi::Value RegionOpenStaged(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto pager = OpenPager(info);
  if (pager == nullptr) return env.Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const uint64_t size = NumberOf(options, "lengthBytes");
  if (size == 0) return Throw(env, {Code::kArgument, 0, "a region of no bytes"});
  const bool writable = TextOf(options, "access") != "read-only";
  auto source = OpenSource(ObjectOf(options.Get("source")), writable);
  if (!source.ok()) return Throw(env, source.error());
  std::unique_ptr<PageStore> store = std::move(source).value();
  RemoteStore* const remote = TextOf(ObjectOf(options.Get("source")), "kind") == "remote"
                                  ? static_cast<RemoteStore*>(store.get())
                                  : nullptr;
  const std::string keep = TextOf(options, "keep");
  if (!keep.empty()) {
    auto kept = KeptStore::Open(keep, size, FlagOf(options, "make"), std::move(store));
    if (!kept.ok()) return Throw(env, kept.error());
    store = std::move(kept).value();
  }
  if (store == nullptr) return Throw(env, {Code::kArgument, 0, "a region without a source"});
  std::unique_ptr<MemoryFiles> files;
  auto memory = OpenMemory(ObjectOf(options.Get("memory")), {size, writable}, store.get(), &files);
  if (!memory.ok()) return Throw(env, memory.error());
  // Memory pressure may write the appliance's own file, never a user's.
  const Region::Options native{size, writable, !keep.empty(), FramesOf(options)};
  return Open(env, pager, native, std::move(store), std::move(memory).value(),
              std::move(files), remote);
}

Napi::Value RegionStats(const Napi::CallbackInfo& info) {
  const auto object = OpenRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  Region& region = *object->region;
  uint64_t bypassed = 0;
  uint64_t faulted = 0;
  for (const OperationCounters& lane : region.operations) {
    bypassed += lane.bypassed.load(std::memory_order_relaxed);
    faulted += lane.faulted.load(std::memory_order_relaxed);
  }
  Napi::Object stats = Napi::Object::New(info.Env());
  const auto put = [&](const char* name, uint64_t value) {
    stats.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
  };
  put("size", region.size_bytes);
  put("pageSize", kPageBytes);
  stats.Set("address", Napi::BigInt::New(info.Env(), static_cast<uint64_t>(object->address)));
  put("totalPages", region.table->pages());
  put("presentPages", region.table->present());
  put("dirtyPages", region.table->dirty());
  put("writtenPages", region.table->written());
  put("lostPages", region.table->lost());
  put("maxFrames", std::min({region.frames.max(), object->pager->pager.budget().max(),
                             region.table->pages()}));
  put("usedFrames", region.frames.used());
  put("bypassedOperations", bypassed);
  put("faultedOperations", faulted);
  put("filledPages", region.fills.filled_pages.load(std::memory_order_relaxed));
  put("filledBytes", region.fills.filled_pages.load(std::memory_order_relaxed) << kPageShift);
  // A kept file counts what it read itself; the store below it, the rest.
  const bool below = object->remote != nullptr && object->remote != region.store.get();
  put("readPages", region.store->pages_read() + (below ? object->remote->pages_read() : 0));
  put("writtenBackPages", region.fills.written_back_pages.load(std::memory_order_relaxed));
  put("writtenBackBytes", region.fills.written_back_bytes.load(std::memory_order_relaxed));
  const bool connected = object->remote != nullptr && object->remote->connected();
  stats.Set("sourceConnected", Napi::Boolean::New(info.Env(), connected));
  return stats;
}

// What was found in the memory directory when the region was opened; null without one.
Napi::Value RegionAdoption(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = OpenRegion(info);
  if (object == nullptr) return env.Undefined();
  const MemoryFiles* files = object->region->table->files();
  if (files == nullptr) return env.Null();
  static constexpr std::array kOutcomes = {"made", "adopted", "discarded", "conflict"};
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

Napi::Value ReceiptOf(Napi::Env env, const WriteBackReceipt& receipt) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("pagesWritten", Napi::Number::New(env, static_cast<double>(receipt.pages_written)));
  object.Set("bytesWritten", Napi::Number::New(env, static_cast<double>(receipt.bytes_written)));
  object.Set("elapsedNs", Napi::Number::New(env, static_cast<double>(receipt.elapsed_ns)));
  return object;
}

PageRun RunOf(const RegionObject& object, const Napi::Object& options) {
  const uint64_t size = object.region->size_bytes;
  const uint64_t offset = std::min(NumberOf(options, "offset"), size);
  return PagesOf(offset, std::min(NumberOf(options, "lengthBytes", size), size - offset));
}

Napi::Value RegionWriteBack(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = OpenRegion(info);
  if (object == nullptr) return env.Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  auto settler = std::make_shared<Settler>(env, "farpage write-back");
  const Napi::Promise promise = settler->promise();
  object->pager->pager.write_back().Submit(
      object->region, RunOf(*object, options), FlagOf(options, "durable"),
      [settler](Result<WriteBackReceipt> outcome) {
        if (outcome.ok()) {
          const WriteBackReceipt receipt = outcome.value();
          settler->Settle(true, [receipt](Napi::Env e) { return ReceiptOf(e, receipt); });
        } else {
          const Error error = outcome.error();
          settler->Settle(false, [error](Napi::Env e) { return MakeJsError(e, error).Value(); });
        }
      });
  return promise;
}

// Waits for a grace period, so on a libuv worker.
class ReclaimWorker final : public Napi::AsyncWorker {
 public:
  ReclaimWorker(Napi::Env env, std::shared_ptr<RegionObject> object, PageRun run)
      : Napi::AsyncWorker(env, "farpage reclaim"),
        object_(std::move(object)),
        run_(run),
        deferred_(Napi::Promise::Deferred::New(env)) {
    object_->region->jobs.fetch_add(1, std::memory_order_acq_rel);
  }
  ~ReclaimWorker() override {
    if (!executed_) object_->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  Napi::Promise promise() { return deferred_.Promise(); }
  void Execute() override {
    pages_ = object_->pager->pager.Reclaim(object_->region, run_);
    executed_ = true;
    object_->region->jobs.fetch_sub(1, std::memory_order_acq_rel);
  }
  void OnOK() override {
    deferred_.Resolve(Napi::Number::New(Env(), static_cast<double>(pages_)));
  }

 private:
  std::shared_ptr<RegionObject> object_;
  PageRun run_;
  Napi::Promise::Deferred deferred_;
  uint64_t pages_ = 0;
  bool executed_ = false;
};

Napi::Value RegionReclaim(const Napi::CallbackInfo& info) {
  const auto object = OpenRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  auto* worker = new ReclaimWorker(info.Env(), object, RunOf(*object, ObjectOf(info[1])));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

Napi::Value RegionPageMap(const Napi::CallbackInfo& info) {
  const auto object = OpenRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const uint64_t cells = std::clamp<uint64_t>(NumberOf(options, "cells", 64), 1, kPageMapCellsMax);
  auto map = Napi::Uint8Array::New(info.Env(), cells);
  DrawPageMap(*object->region, RunOf(*object, options), {map.Data(), cells});
  return map;
}

void RegionClose(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<RegionObject>(info[0])) object->Close();
}

}  // namespace

void ExportRegion(Napi::Env env, Napi::Object exports) {
  exports.Set("regionOpenFile", Napi::Function::New(env, RegionOpenFile));
  exports.Set("regionOpenStaged", Napi::Function::New(env, RegionOpenStaged));
  exports.Set("regionAdoption", Napi::Function::New(env, RegionAdoption));
  exports.Set("regionStats", Napi::Function::New(env, RegionStats));
  exports.Set("regionWriteBack", Napi::Function::New(env, RegionWriteBack));
  exports.Set("regionReclaim", Napi::Function::New(env, RegionReclaim));
  exports.Set("regionPageMap", Napi::Function::New(env, RegionPageMap));
  exports.Set("regionClose", Napi::Function::New(env, RegionClose));
}

}  // namespace farpage::binding
