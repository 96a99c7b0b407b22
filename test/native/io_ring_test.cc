// Writes by io_uring(7), one by one, by this kernel and by older ones.
#include <fcntl.h>

#include <array>
#include <string>

#include "appliance_fixture.h"
#include "check.h"
#include "os/io_ring.h"
#include "ring_setup.h"

namespace farpage::test {
namespace {

void CheckOutcomes(IoRing& ring) {
  const TemporaryFolder folder;
  const Fd file(::open(folder.File("data").c_str(), O_RDWR | O_CREAT, 0600));
  const std::array<char, 4> bytes = {'f', 'a', 'r', '!'};
  CHECK(ring.QueueWrite(file.get(), bytes.data(), 4, 0, 0, 10));
  CHECK(ring.QueueWrite(-1, bytes.data(), 4, 0, 0, 11));
  CHECK(ring.QueueWrite(file.get(), nullptr, 4, 8, 0, 12));
  CHECK(ring.QueueWrite(file.get(), bytes.data(), 2, 4, 0, 13));
  CHECK(!ring.QueueWrite(file.get(), bytes.data(), 4, 0, 0, 14));  // full
  CHECK_EQ(ring.queued(), 4u);
  std::array<int32_t, 4> results{};
  for (int reaped = 0; reaped < 4;) {
    REQUIRE(ring.Enter(1));
    for (IoRing::Completion done; ring.Reap(&done); reaped++) {
      results[done.user_data - 10] = done.result;
    }
  }
  CHECK_EQ(ring.queued(), 0u);
  CHECK_EQ(results[0], 4);
  CHECK_EQ(results[1], -EBADF);
  CHECK_EQ(results[2], -EFAULT);
  CHECK_EQ(results[3], 2);
  std::array<char, 6> found{};
  CHECK_EQ(::pread(file.get(), found.data(), 6, 0), 6);
  CHECK_EQ(std::string(found.data(), 6), "far!fa");
}

}  // namespace

FARPAGE_TEST(io_ring_tells_each_write_its_outcome) {
  auto made = IoRing::Create(4);
  if (!made.ok()) return Skip("no io_uring here");
  CheckOutcomes(*made.value());
}

FARPAGE_TEST(io_ring_of_a_kernel_that_knows_no_flags_does_the_same) {
  if (!IoRing::Create(4).ok()) return Skip("no io_uring here");
  const OldRings old;
  auto made = IoRing::Create(4);
  REQUIRE(made.ok());
  CHECK_EQ(old.refused_setups(), 1u);
  CheckOutcomes(*made.value());
}

}  // namespace farpage::test
