// Rings as older kernels have them.
#pragma once

#include <cstdint>

namespace farpage::test {

// While one lives, io_uring_setup(2) knows no flags (EINVAL), as before Linux 6.0. One at a time.
class OldRings {
 public:
  OldRings();
  ~OldRings();
  OldRings(const OldRings&) = delete;
  OldRings& operator=(const OldRings&) = delete;
  [[nodiscard]] uint64_t refused_setups() const;
};

}  // namespace farpage::test
