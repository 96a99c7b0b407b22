// What a pull leaves in the file that keeps it, on its way around the page cache.
#include <fcntl.h>
#include <unistd.h>

#include <random>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"
#include "elsewhere.h"
#include "fetched.h"
#include "os/io_ring.h"
#include "os/page_cache.h"
#include "stores/kept_store.h"
#include "system_calls.h"

namespace farpage::test {
namespace {

// Some whole runs and a short one, which goes through the page cache.
constexpr uint64_t kPages = 5 * kPrefetchRunPages + 7;
const uint64_t kSize = kPages << kPageShift;

Code Pull(Appliance& appliance) {
  const PrefetchReport report = Fetched(appliance, appliance.region).Await();
  CHECK_EQ(report.filled_pages, kPages);
  return CodeOf(report);
}

bool GoesAround(const std::string& path) {
  const Fd direct(::open(path.c_str(), O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
  return direct.valid() && IoRing::Create(2).ok();
}

std::vector<std::byte> BytesOf(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> bytes(kSize);
  CHECK_EQ(::pread(file.get(), bytes.data(), kSize, 0), ssize_t(kSize));
  return bytes;
}

}  // namespace

FARPAGE_TEST(pull_goes_around_the_page_cache_and_is_there_after_a_power_loss) {
  const TemporaryFolder folder;
  if (!GoesAround(folder.File("probe"))) SKIP("nothing goes around the page cache here");
  const std::string path = folder.File("kept");
  std::mt19937_64 random(7);
  const CallRecord calls(folder.File(""), true);
  {
    Appliance appliance;
    auto kept = KeptStore::Open(path, kSize, true, std::make_unique<Elsewhere>());
    REQUIRE(kept.ok());
    appliance.OpenStaged(kSize, std::move(kept).value());
    CHECK_EQ(int(Pull(appliance)), int(Code::kOk));
    CHECK_EQ(appliance.region->table->dirty(), 0u);
    CHECK_EQ(calls.ring_writes(), kPages / kPrefetchRunPages);
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const uint64_t around = kPages / kPrefetchRunPages * kPrefetchRunPages << kPageShift;
    CHECK_EQ(CachedBytes(file.get(), 0, around, nullptr), 0u);
  }
  std::vector<std::byte> expected(kSize, std::byte{7});
  CHECK(BytesOf(path) == expected);
  const TemporaryFolder left;
  calls.PowerLoss(calls.size(), random, left.File(""));
  CHECK(BytesOf(left.File("kept")) == expected);
}

}  // namespace farpage::test
