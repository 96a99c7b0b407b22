// `pin` and `cache`: what a harness has to arrange before it measures.
#include <sched.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "bench/commands.h"
#include "bench/core_pin.h"
#include "bench/die.h"
#include "bench/json_object.h"
#include "bench/page_file.h"

namespace farpage::bench {
namespace {

constexpr uint64_t kPidMax = uint64_t{1} << 22;

// The cores of `list`; all that there are where it is empty.
cpu_set_t CoresOf(const std::vector<uint64_t>& list) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  for (const uint64_t core : list) CPU_SET(static_cast<size_t>(core), &cores);
  if (!list.empty()) return cores;
  for (size_t core = 0; core < CPU_SETSIZE; core++) CPU_SET(core, &cores);
  return cores;
}

}  // namespace

void PinCommand(Options& options) {
  const uint64_t pid = options.Number("pid", 0, 1, kPidMax);
  const std::string prefix = options.Text("threads", "");
  const cpu_set_t cores = CoresOf(options.Numbers("cores", "", 0, kAnyCore));
  options.Finish();
  uint64_t pinned = 0;
  std::error_code error;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, error)) {
    std::ifstream comm(task.path() / "comm");
    std::string name;
    std::getline(comm, name);
    if (!name.starts_with(prefix)) continue;
    const int tid = std::atoi(task.path().filename().c_str());
    // A thread that has ended meanwhile needs no core.
    if (sched_setaffinity(tid, sizeof cores, &cores) == 0) pinned++;
    else if (errno != ESRCH) Die("sched_setaffinity");
  }
  errno = error.value();
  if (pinned == 0) Die("no such thread");
  JsonObject().Add("pinned", pinned).Print();
}

void CacheCommand(Options& options) {
  const std::string path = options.Required("file");
  const std::string state = options.Words("state", "cold", "hot,cold")[0];
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  options.Finish();
  errno = error.value();
  if (error) Die("file");
  PageFile file(path, size);
  file.Prepare(state == "hot" ? Cached::kHot : Cached::kCold);
  const std::optional<uint64_t> cached = file.CachedPages();
  JsonObject line;
  line.Add("state", state);
  if (cached) line.Add("cachedPages", *cached);
  else line.AddJson("cachedPages", "null");
  line.Print();
}

}  // namespace farpage::bench
