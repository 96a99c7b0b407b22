// Opening and closing regions.
#include <functional>
#include <utility>

#include "binding/region_arguments.h"
#include "binding/remote_source.h"
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

void RegionClose(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<RegionObject>(info[0])) object->Close();
}

}  // namespace

void ExportRegionOpen(Napi::Env env, Napi::Object exports) {
  exports.Set("regionOpenFile", Napi::Function::New(env, RegionOpenFile));
  exports.Set("regionOpenStaged", Napi::Function::New(env, RegionOpenStaged));
  exports.Set("regionClose", Napi::Function::New(env, RegionClose));
}

}  // namespace farpage::binding
