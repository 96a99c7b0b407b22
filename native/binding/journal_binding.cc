// Atomic syncs and their journal.
#include <utility>

#include "binding/region_arguments.h"
#include "binding/settler.h"

namespace farpage::binding {
namespace {

Napi::Number Number(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

// What recovery did, one object for each store.
Napi::Array RecoveredOf(Napi::Env env, const std::vector<RecoveredStore>& done) {
  Napi::Array list = Napi::Array::New(env, done.size());
  for (uint32_t n = 0; n < done.size(); n++) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("path", done[n].store.path);
    one.Set("pages", Number(env, done[n].pages));
    one.Set("bytes", Number(env, done[n].bytes));
    const Code code = done[n].outcome.ok() ? Code::kOk : done[n].outcome.error().code;
    one.Set("failure", code == Code::kOk ? env.Null() : Napi::String::New(env, CodeName(code)));
    list.Set(n, one);
  }
  return list;
}

// Opens the journal of a pager's atomic syncs, or makes it, and recovers what it holds.
Napi::Value PagerOpenJournal(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto pager = OpenPager(info);
  if (pager == nullptr) return env.Undefined();
  JournalDamage damage;
  auto opened = JournalFolder::Open(TextOf(ObjectOf(info[1]), "path"), &damage);
  Napi::Object found = Napi::Object::New(env);
  if (!opened.ok()) {
    if (damage.path.empty()) return Throw(env, opened.error());
    Napi::Object place = Napi::Object::New(env);
    place.Set("path", damage.path);
    place.Set("at", Number(env, damage.at));
    found.Set("damage", place);
    found.Set("recovered", Napi::Array::New(env, 0));
    return found;
  }
  const std::shared_ptr<JournalFolder> journal = std::move(opened).value();
  std::vector<RecoveredStore> done;
  if (Status recovered = journal->Recover(JournalFolder::OpenNamed, &done); !recovered.ok()) {
    return Throw(env, recovered.error());
  }
  pager->pager.atomic_sync().UseJournal(journal);
  found.Set("damage", env.Null());
  found.Set("recovered", RecoveredOf(env, done));
  return found;
}

// Paths of files that parts of committed syncs wait for.
Napi::Value PagerJournalWaiting(const Napi::CallbackInfo& info) {
  const auto pager = OpenPager(info);
  if (pager == nullptr) return info.Env().Undefined();
  Napi::Array paths = Napi::Array::New(info.Env());
  JournalFolder* journal = pager->pager.atomic_sync().journal();
  if (journal == nullptr) return paths;
  uint32_t n = 0;
  for (const JournalStore& store : journal->Waiting()) {
    paths.Set(n++, Napi::String::New(info.Env(), store.path));
  }
  return paths;
}

Napi::Value PagerJournalAbandon(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto pager = OpenPager(info);
  if (pager == nullptr) return env.Undefined();
  JournalFolder* journal = pager->pager.atomic_sync().journal();
  if (journal == nullptr) return Number(env, 0);
  auto pages = journal->Abandon(TextOf(ObjectOf(info[1]), "path"));
  if (!pages.ok()) return Throw(env, pages.error());
  return Number(env, pages.value());
}

Napi::Object ReceiptOf(Napi::Env env, const AtomicReceipt& receipt) {
  Napi::Array members = Napi::Array::New(env, receipt.members.size());
  for (uint32_t n = 0; n < receipt.members.size(); n++) {
    Napi::Object member = Napi::Object::New(env);
    member.Set("pagesWritten", Number(env, receipt.members[n].pages_written));
    member.Set("bytesWritten", Number(env, receipt.members[n].bytes_written));
    member.Set("elapsedNs", Number(env, receipt.members[n].elapsed_ns));
    members.Set(n, member);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("members", members);
  object.Set("transaction", Number(env, receipt.sequence));
  return object;
}

// Syncs ranges of regions, all of them allocated or not, as one.
Napi::Value PagerSyncAtomically(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto pager = OpenPager(info);
  if (pager == nullptr) return env.Undefined();
  if (!info[1].IsArray()) return Throw(env, {Code::kArgument, 0, "members are a list"});
  const auto list = info[1].As<Napi::Array>();
  std::vector<AtomicSync::Member> members;
  std::vector<uint32_t> places;  // of those that have memory, in the list
  for (uint32_t n = 0; n < list.Length(); n++) {
    const Napi::Object member = ObjectOf(list.Get(n));
    const auto object = Unwrap<RegionObject>(member.Get("region"));
    if (object == nullptr) return env.Undefined();
    if (object->closed) return Throw(env, {Code::kClosed, 0, "the region is closed"});
    if (object->Look() == nullptr) continue;  // nothing of it can be dirty
    members.push_back({object->region, RunOf(*object, member)});
    places.push_back(n);
  }
  auto settler = std::make_shared<Settler>(env, "farpage atomic sync");
  const Napi::Promise promise = settler->promise();
  pager->pager.atomic_sync().Submit(
      std::move(members), [settler, places, count = list.Length()](Result<AtomicReceipt> outcome) {
        if (!outcome.ok()) {
          const Error error = outcome.error();
          settler->Settle(false, [error](Napi::Env e) { return MakeJsError(e, error).Value(); });
          return;
        }
        AtomicReceipt all;
        all.sequence = outcome.value().sequence;
        all.members.resize(count);
        for (size_t n = 0; n < places.size(); n++) {
          all.members[places[n]] = outcome.value().members[n];
        }
        settler->Settle(true, [all](Napi::Env e) { return ReceiptOf(e, all); });
      });
  return promise;
}

}  // namespace

void ExportJournal(Napi::Env env, Napi::Object exports) {
  exports.Set("pagerOpenJournal", Napi::Function::New(env, PagerOpenJournal));
  exports.Set("pagerJournalWaiting", Napi::Function::New(env, PagerJournalWaiting));
  exports.Set("pagerJournalAbandon", Napi::Function::New(env, PagerJournalAbandon));
  exports.Set("pagerSyncAtomically", Napi::Function::New(env, PagerSyncAtomically));
}

}  // namespace farpage::binding
