// Kernels that know less of io_uring(7) than this one: io_uring_setup(2) met on its way there.
#include "ring_setup.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>

namespace farpage::test {
namespace {

std::atomic<bool> is_old{false};
std::atomic<uint64_t> refused{0};

}  // namespace

OldRings::OldRings() {
  refused = 0;
  is_old = true;
}

OldRings::~OldRings() { is_old = false; }

uint64_t OldRings::refused_setups() const { return refused; }

}  // namespace farpage::test

using namespace farpage::test;

extern "C" {

long __real_syscall(long number, ...);

// Takes as many arguments as a call can have, like the function that it stands before; what is not
// there is whatever lies in its place, which a sanitizer must not look at.
__attribute__((no_sanitize("address", "thread", "undefined"))) long __wrap_syscall(long number,
                                                                                  ...) {
  std::array<long, 6> given;
  va_list list;
  va_start(list, number);
  for (long& word : given) word = va_arg(list, long);
  va_end(list);
  if (number == SYS_io_uring_setup && is_old) {
    const auto* params = reinterpret_cast<const io_uring_params*>(given[1]);
    if (params->flags != 0) {
      refused++;
      errno = EINVAL;
      return -1;
    }
  }
  return __real_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

}  // extern "C"
