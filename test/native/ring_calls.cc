// Writes by io_uring(7) go around libc: they are met where the core queues them, hands them over
// and reaps them, by the same means (--wrap of these functions of IoRing, by their linker names).
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "call_record.h"
#include "os/io_ring.h"

namespace farpage::test {
namespace {

constexpr size_t kAligned = 4096;  // what O_DIRECT asks of a buffer

struct FreeDeleter {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using Copy = std::unique_ptr<std::byte, FreeDeleter>;

Copy CopyOf(const void* from, uint32_t bytes) {
  const size_t whole = (bytes + kAligned - 1) / kAligned * kAligned;
  Copy copy(static_cast<std::byte*>(std::aligned_alloc(kAligned, whole)));
  if (copy == nullptr) std::abort();
  std::memcpy(copy.get(), from, bytes);
  return copy;
}

// A write of a recorded file that was queued and has not been reaped.
struct Begun {
  CallRecord::State* record = nullptr;
  size_t number = 0;
  Copy copy;  // what the kernel writes is what was recorded
  uint32_t bytes = 0;
};
std::mutex begun_mutex;
std::map<std::pair<const IoRing*, uint64_t>, Begun> begun;

}  // namespace
}  // namespace farpage::test

using namespace farpage;
using namespace farpage::test;

extern "C" {

bool __real__ZN7farpage6IoRing10QueueWriteEiPKvjmim(IoRing* ring, int file, const void* from,
                                                    uint32_t bytes, uint64_t offset_bytes,
                                                    int flags, uint64_t user_data);
bool __real__ZN7farpage6IoRing5EnterEj(IoRing* ring, uint32_t wait_for);
bool __real__ZN7farpage6IoRing4ReapEPNS0_10CompletionE(IoRing* ring, IoRing::Completion* done);

bool __wrap__ZN7farpage6IoRing10QueueWriteEiPKvjmim(IoRing* ring, int file, const void* from,
                                                    uint32_t bytes, uint64_t offset_bytes,
                                                    int flags, uint64_t user_data) {
  const auto queue = [&](const void* what) {
    return __real__ZN7farpage6IoRing10QueueWriteEiPKvjmim(ring, file, what, bytes, offset_bytes,
                                                          flags, user_data);
  };
  RingStep(file);
  CallRecord::State* record = RecordOf(file);
  if (record == nullptr) return queue(from);
  struct stat status{};
  if (::fstat(file, &status) != 0) std::abort();
  Copy copy = CopyOf(from, bytes);
  CallRecord::Call call{CallRecord::Call::What::kWrite, status.st_ino, 0, {}, {}, offset_bytes,
                        {copy.get(), copy.get() + bytes}, 0, 0};
  const size_t number = record->Begin(std::move(call));
  const void* what = copy.get();
  {
    const std::lock_guard lock(begun_mutex);
    begun[{ring, user_data}] = {record, number, std::move(copy), bytes};
  }
  if (queue(what)) return true;
  record->Undo(number);
  const std::lock_guard lock(begun_mutex);
  begun.erase({ring, user_data});
  return false;
}

bool __wrap__ZN7farpage6IoRing5EnterEj(IoRing* ring, uint32_t wait_for) {
  RingStep(-1);
  const bool entered = __real__ZN7farpage6IoRing5EnterEj(ring, wait_for);
  RingStep(-1);
  return entered;
}

bool __wrap__ZN7farpage6IoRing4ReapEPNS0_10CompletionE(IoRing* ring, IoRing::Completion* done) {
  if (!__real__ZN7farpage6IoRing4ReapEPNS0_10CompletionE(ring, done)) return false;
  RingStep(-1);
  const std::lock_guard lock(begun_mutex);
  const auto found = begun.find({ring, done->user_data});
  if (found == begun.end()) return true;
  const Begun& write = found->second;
  if (done->result < 0) write.record->Undo(write.number);
  // One that was cut short may have left anything; nobody may rely on it.
  if (done->result == static_cast<int32_t>(write.bytes)) {
    write.record->End(write.number);
    write.record->ring_writes++;
  }
  begun.erase(found);
  return true;
}

}  // extern "C"
