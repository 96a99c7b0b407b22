// What goes on beside the clients of a model.
#include <fcntl.h>

#include "model_run.h"

namespace farpage::test {
namespace {

// What brings pages near, and what keeps them, meanwhile.
class Others {
 public:
  explicit Others(Appliance& appliance) : appliance_(appliance) {}
  ~Others() {
    Pin({0, appliance_.region->table->pages()}, false);
    if (prefetch_ != nullptr) appliance_.pager.prefetcher().Cancel(*prefetch_);
  }
  void DoOne(Random& random, PageRun run) {
    Pager& pager = appliance_.pager;
    const std::shared_ptr<Region>& region = appliance_.region;
    switch (Below(random, 6)) {
      case 0: pager.Promote(region, run); break;
      case 1: pager.Demote(region, run); break;
      case 2: Pin({run.first, std::min<uint64_t>(run.count, 4)}, true); break;
      case 3: Pin(run, false); break;
      case 4:
        prefetch_ = pager.prefetcher().Begin(region, run, [](const PrefetchReport&) {});
        if (prefetch_ != nullptr && Below(random, 2) == 0) pager.prefetcher().Cancel(*prefetch_);
        break;
      default: {
        WorkingSet found = pager.WorkingSetOf(*region, 60'000);
        std::vector<PageRun> runs = std::move(found.hot);
        runs.insert(runs.end(), found.warm.begin(), found.warm.end());
        if (!runs.empty()) {
          pager.prefetcher().Begin(region, std::move(runs), [](const PrefetchReport&) {});
        }
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(Below(random, 2000)));
  }

 private:
  // There may be too many already.
  void Pin(PageRun run, bool pinned) {
    const std::shared_ptr<Region>& region = appliance_.region;
    (void)appliance_.pager.pinning().Set(*region->pins, region.get(), run, pinned, ~uint64_t{0});
  }
  Appliance& appliance_;
  std::shared_ptr<Prefetch> prefetch_;
};

}  // namespace

void Disturb(Appliance& appliance, const std::string& path, uint64_t seed, const ModelRun& run_of,
             const std::atomic<bool>& stop) {
  const bool may_fail = run_of.truncated_bytes != 0;
  const bool may_protect = run_of.protects;
  Others others(appliance);
  Random random(seed);
  const Fd file(path.empty() ? -1 : ::open(path.c_str(), O_RDONLY));
  const uint64_t pages = appliance.region->table->pages();
  while (!stop.load()) {
    const PageIndex first = Below(random, pages);
    const PageRun run{first, 1 + Below(random, pages - first)};
    if (run_of.everything && Below(random, 2) == 0) {
      others.DoOne(random, run);
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
