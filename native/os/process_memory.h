// What the kernel says this process occupies.
#pragma once

#include <cstdint>

namespace farpage {

// Of proc_pid_status(5). Zeros where /proc cannot be read.
struct ProcessMemory {
  uint64_t anonymous_bytes = 0;  // RssAnon: resident pages of no file
  uint64_t table_bytes = 0;      // VmPTE: page tables, all levels

  // Some 30 us. Thread: any.
  static ProcessMemory Now();
};

}  // namespace farpage
