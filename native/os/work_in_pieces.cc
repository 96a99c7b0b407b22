#include "os/work_in_pieces.h"

#include <atomic>

#include "os/short_cores.h"

namespace farpage {
namespace {

std::atomic<int> works{0};

}  // namespace

WorkInPieces::WorkInPieces() { works.fetch_add(1, std::memory_order_relaxed); }

WorkInPieces::~WorkInPieces() { works.fetch_sub(1, std::memory_order_relaxed); }

bool WorksInPieces() { return works.load(std::memory_order_relaxed) != 0 && CoresAreShort(); }

}  // namespace farpage
