// Prefetches, and what a copy still needs of its source.
#include <utility>

#include "binding/region_arguments.h"
#include "binding/region_worker.h"
#include "binding/settler.h"

namespace farpage::binding {
namespace {

// Collected, it goes on: nobody has to hold on to what only warms memory.
class PrefetchObject final : public Closable {
 public:
  static constexpr HandleKind kKind = HandleKind::kPrefetch;
  PrefetchObject(std::shared_ptr<PagerObject> owner, std::shared_ptr<Prefetch> begun)
      : pager(std::move(owner)), prefetch(std::move(begun)) {}
  void Close() override { pager->pager.prefetcher().Cancel(*prefetch); }
  void Abandon() override {}

  std::shared_ptr<PagerObject> pager;
  std::shared_ptr<Prefetch> prefetch;
};

Napi::Value FiguresOf(Napi::Env env, const PrefetchReport& report) {
  Napi::Object figures = Napi::Object::New(env);
  const auto put = [&](const char* name, uint64_t value) {
    figures.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  put("pages", report.pages);
  put("passedPages", report.passed_pages);
  put("filledPages", report.filled_pages);
  figures.Set("full", Napi::Boolean::New(env, report.full));
  const Code code = report.outcome.ok() ? Code::kOk : report.outcome.error().code;
  figures.Set("code", Napi::String::New(env, CodeName(code)));
  return figures;
}

Napi::Value RegionPrefetch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto object = OpenRegion(info);
  if (object == nullptr) return env.Undefined();
  auto settler = std::make_shared<Settler>(env, "farpage prefetch");
  const Napi::Promise done = settler->promise();
  const auto ended = [settler](const PrefetchReport& report) {
    settler->Settle(true, [report](Napi::Env e) { return FiguresOf(e, report); });
  };
  Prefetcher& prefetcher = object->pager->pager.prefetcher();
  auto prefetch = info[1].IsTypedArray()
                      ? prefetcher.Begin(object->region, RunsOf(info[1]), ended)
                      : prefetcher.Begin(object->region, RunOf(*object, ObjectOf(info[1])), ended);
  Napi::Object begun = Napi::Object::New(env);
  begun.Set("handle", MakeHandle(env, HandleKind::kPrefetch,
                                 std::make_shared<PrefetchObject>(object->pager,
                                                                  std::move(prefetch))));
  begun.Set("done", done);
  return begun;
}

Napi::Value PrefetchFigures(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<PrefetchObject>(info[0]);
  if (object == nullptr) return info.Env().Undefined();
  return FiguresOf(info.Env(), Prefetcher::Report(*object->prefetch));
}

void PrefetchCancel(const Napi::CallbackInfo& info) {
  if (const auto object = Unwrap<PrefetchObject>(info[0])) object->Close();
}

// A question to the file system for every run of the kept file.
Napi::Value RegionNeededPages(const Napi::CallbackInfo& info) {
  const auto object = OpenRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  return StartCounting(info.Env(), object, [](Pager&, const std::shared_ptr<Region>& region) {
    return Prefetcher::NeededPages(*region, {0, region->table->pages()});
  });
}

void RegionDetachSource(const Napi::CallbackInfo& info) {
  if (const auto object = OpenRegion(info)) object->Look()->store->DetachSource();
}

}  // namespace

void ExportPrefetch(Napi::Env env, Napi::Object exports) {
  exports.Set("regionPrefetch", Napi::Function::New(env, RegionPrefetch));
  exports.Set("prefetchFigures", Napi::Function::New(env, PrefetchFigures));
  exports.Set("prefetchCancel", Napi::Function::New(env, PrefetchCancel));
  exports.Set("regionNeededPages", Napi::Function::New(env, RegionNeededPages));
  exports.Set("regionDetachSource", Napi::Function::New(env, RegionDetachSource));
}

}  // namespace farpage::binding
