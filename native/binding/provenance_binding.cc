// Where the pages of a range are from.
#include "pager/provenance.h"

#include <fcntl.h>

#include <algorithm>
#include <string>
#include <utility>

#include "binding/region_arguments.h"
#include "binding/region_worker.h"
#include "stores/kept_store.h"

namespace farpage::binding {
namespace {

// Numbers of one run in the answer: offset, length, state, place, origin.
constexpr size_t kFieldsPerRun = 5;

PageOrigin OriginNamed(const std::string& name) {
  if (name == "file") return PageOrigin::kFile;
  return name == "elsewhere" ? PageOrigin::kRemote : PageOrigin::kFill;
}

// What the store of a region that is only reserved would say: its kept file, if there is one, is
// looked at without the lock that whoever allocates the region takes.
Result<ProvenanceList> TellUnopened(const std::string& keep, PageOrigin base,
                                    const ProvenanceQuestion& asked) {
  const Fd file(keep.empty() ? -1 : ::open(keep.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!keep.empty() && !file.valid() && errno != ENOENT) return SystemError("open kept file");
  return TellReserved(
      [&](PageRun run) {
        bool kept = false;
        const PagesFrom from =
            file.valid() ? KeptAt(file.get(), run, &kept) : PagesFrom{base, run.count};
        return PagesFrom{kept ? PageOrigin::kKept : base, from.pages};
      },
      asked);
}

Napi::Value ListOf(Napi::Env env, const ProvenanceList& list, uint64_t offset, uint64_t end) {
  auto runs = Napi::Float64Array::New(env, list.runs.size() * kFieldsPerRun);
  double* at = runs.Data();
  for (const ProvenanceRun& found : list.runs) {
    // Bytes of the range only: its ends may lie within pages.
    const uint64_t first = std::max(found.run.offset_bytes(), offset);
    const uint64_t last = std::min(found.run.offset_bytes() + found.run.length_bytes(), end);
    *at++ = static_cast<double>(first);
    *at++ = static_cast<double>(last - first);
    *at++ = static_cast<double>(found.state);
    *at++ = static_cast<double>(found.place);
    *at++ = static_cast<double>(found.origin);
  }
  Napi::Object told = Napi::Object::New(env);
  told.Set("runs", runs);
  const uint64_t next = list.next << kPageShift;
  const bool more = next < end && offset < end;
  told.Set("next", more ? Napi::Number::New(env, static_cast<double>(next)) : env.Null());
  return told;
}

Napi::Value RegionProvenance(const Napi::CallbackInfo& info) {
  const auto object = ReservedRegion(info);
  if (object == nullptr) return info.Env().Undefined();
  const Napi::Object options = ObjectOf(info[1]);
  const uint64_t size = object->reservation->size_bytes;
  const uint64_t offset = std::min(NumberOf(options, "offset"), size);
  const uint64_t end = offset + std::min(NumberOf(options, "lengthBytes", size), size - offset);
  const ProvenanceQuestion asked{RunOf(*object, options),
                                 NumberOf(options, "runs", kProvenanceRunsMax),
                                 FlagOf(options, "copy")};
  const std::string keep = TextOf(options, "keep");
  const PageOrigin base = OriginNamed(TextOf(options, "base"));
  return RegionWorker<ProvenanceList>::Start(
      info.Env(), object,
      [asked, keep, base](Pager& pager, const std::shared_ptr<Region>& region)
          -> Result<ProvenanceList> {
        if (region == nullptr) return TellUnopened(keep, base, asked);
        return TellProvenance(*region, pager.evictor(), asked);
      },
      [offset, end](Napi::Env env, const ProvenanceList& list, uint64_t) {
        return ListOf(env, list, offset, end);
      });
}

}  // namespace

void ExportProvenance(Napi::Env env, Napi::Object exports) {
  exports.Set("regionProvenance", Napi::Function::New(env, RegionProvenance));
}

}  // namespace farpage::binding
