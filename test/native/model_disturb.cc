// What goes on beside the clients of a model.
#include <fcntl.h>

#include "model_run.h"
#include "mover.h"

namespace farpage::test {
void Disturb(Appliance& appliance, const std::string& path, uint64_t seed, const ModelRun& run_of,
             const std::atomic<bool>& stop) {
  const bool may_fail = run_of.truncated_bytes != 0;
  const bool may_protect = run_of.protects;
  Mover mover(appliance.pager, appliance.region);
  Random random(seed);
  const Fd file(path.empty() ? -1 : ::open(path.c_str(), O_RDONLY));
  const uint64_t pages = appliance.region->table->pages();
  while (!stop.load()) {
    const PageIndex first = Below(random, pages);
    const PageRun run{first, 1 + Below(random, pages - first)};
    if (run_of.everything && Below(random, 2) == 0) {
      mover.DoOne(random, run);
      continue;
    }
    switch (Below(random, may_protect ? 8 : 6)) {
      case 0: {
        const bool durable = Below(random, 2) == 0;
        const PageRun synced = Below(random, 2) == 0 ? PageRun{0, pages} : run;
        auto receipt = appliance.Sync(synced, durable);
        if (!receipt.ok() && !may_fail) CHECK_EQ(int(receipt.error().code), int(Code::kOk));
        break;
      }
      case 1: appliance.pager.Reclaim(appliance.region, run); break;
      case 3:
        appliance.pager.Demote(appliance.region, {first, std::min<uint64_t>(run.count, 40)});
        break;
      case 2:
        if (file.valid()) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
        break;
      case 4:
        if (appliance.region->atomic) {
          appliance.pager.atomic_sync().Submit({{appliance.region, run}}, [](auto) {});
        } else {
          appliance.pager.write_back().Submit(appliance.region, run, true, [](auto) {});
        }
        break;
      case 5: {
        auto& indicators = appliance.pager.indicators();
        const auto rule = Below(random, 2) == 0 ? DirtyRule::kKeep : DirtyRule::kRefuse;
        CHECK_EQ(indicators.Invalidate(appliance.region, run, rule).busy_pages, 0u);
        break;
      }
      default: {
        const PageRun few{first, std::min<uint64_t>(run.count, 100)};
        const auto permission = Below(random, 2) == 0 ? Permission::kNone : Permission::kRead;
        auto& indicators = appliance.pager.indicators();
        CHECK(indicators.Protect(*appliance.region, few, permission).ok());
        std::this_thread::sleep_for(std::chrono::microseconds(Below(random, 3000)));
        CHECK(indicators.Protect(*appliance.region, few, Permission::kReadWrite).ok());
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(Below(random, 2000)));
  }
}

}  // namespace farpage::test
