// Taking pages out of a mapping.
#pragma once

#include <sys/uio.h>

#include <span>

#include "base/page.h"

namespace farpage {

// MADV_DONTNEED for every range: private copies go, the file's pages show again; what is mapped
// shared stays in its file and is only taken out of the page tables. Scattered pages
// in one process_madvise(2) cost 0.6 us each, with one TLB flush; a madvise(2) each costs up to
// 13 us while another core runs in this process. Linux before 6.13 refuses the advice for
// process_madvise: then one call each. Thread: any.
void DropPages(std::span<iovec> ranges);

// Takes windows of kWindowBytes out of a mapping that begins at `base`, and frees the kernel's
// tables of them: Linux 6.14 and later does so when a whole window is given up. False: this kernel
// does not, nothing was done. Thread: any.
bool FreeTables(std::byte* base, std::span<const PageRun> windows);

// For tests: as if the kernel did not.
void PretendTablesStay(bool stay);

}  // namespace farpage
