#include "os/process_memory.h"

#include <fstream>
#include <string>

namespace farpage {

ProcessMemory ProcessMemory::Now() {
  ProcessMemory found;
  std::ifstream status("/proc/self/status");
  std::string word;
  uint64_t kib = 0;
  while (status >> word) {
    if (word == "RssAnon:" && status >> kib) found.anonymous_bytes = kib << 10;
    if (word == "VmPTE:" && status >> kib) found.table_bytes = kib << 10;
  }
  return found;
}

}  // namespace farpage
