#include "memory/region_copy.h"

#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>

#include "base/crc32c.h"

#if defined(__SANITIZE_THREAD__)
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace farpage {
namespace {

struct RaceExempt {
#if defined(__SANITIZE_THREAD__)
  RaceExempt() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~RaceExempt() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
  // ThreadSanitizer forgets what a thread ignores when a signal handler is left by a jump.
  static void AfterJump() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
#else
  RaceExempt() {}
  static void AfterJump() {}
#endif
  RaceExempt(const RaceExempt&) = delete;
  RaceExempt& operator=(const RaceExempt&) = delete;
};

// SA_NODEFER leaves nothing blocked, so the jump need not restore a mask; ThreadSanitizer's own
// handler blocks everything all the same.
#if defined(__SANITIZE_THREAD__)
constexpr int kSavesMask = 1;
#else
constexpr int kSavesMask = 0;
#endif

thread_local sigjmp_buf bus_return;
thread_local volatile sig_atomic_t bus_guarded = 0;
struct sigaction previous_action;

void OnBusError(int number, siginfo_t* info, void* context) {
  if (bus_guarded != 0) siglongjmp(bus_return, 1);
  // Not ours: what would have happened without us.
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(number, info, context);
    return;
  }
  if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(number);
    return;
  }
  ::signal(SIGBUS, SIG_DFL);  // returns to the access, which now ends the process
}

// Runs `body` with the guard; false when it met a bad page. The signal comes synchronously from
// the access itself, so jumping out of the handler is defined; SA_NODEFER spares the mask.
template <typename Body>
__attribute__((noinline)) bool Guarded(Body body) {
  if (sigsetjmp(bus_return, kSavesMask) != 0) {
    bus_guarded = 0;
    RaceExempt::AfterJump();
    return false;
  }
  bus_guarded = 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  body();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  bus_guarded = 0;
  return true;
}

using Word = uint64_t __attribute__((may_alias));
struct __attribute__((packed)) LooseWord {
  Word value;
};

// `fixed` is the region side: whole aligned words there, whatever the other side's alignment.
template <bool kToRegion>
inline void CopyUntorn(std::byte* to, const std::byte* from, size_t bytes) {
  const std::byte* fixed = kToRegion ? to : from;
  size_t head = (8 - (reinterpret_cast<uintptr_t>(fixed) & 7)) & 7;
  if (head > bytes) head = bytes;
  size_t done = 0;
  for (; done < head; done++) to[done] = from[done];
  for (; done + 8 <= bytes; done += 8) {
    if constexpr (kToRegion) {
      const uint64_t word = reinterpret_cast<const LooseWord*>(from + done)->value;
      __atomic_store_n(reinterpret_cast<Word*>(to + done), word, __ATOMIC_RELAXED);
    } else {
      const uint64_t word =
          __atomic_load_n(reinterpret_cast<const Word*>(from + done), __ATOMIC_RELAXED);
      reinterpret_cast<LooseWord*>(to + done)->value = word;
    }
  }
  for (; done < bytes; done++) to[done] = from[done];
}

template <bool kToRegion>
bool Copy(std::byte* to, const std::byte* from, size_t bytes) {
  RaceExempt exempt;
  return Guarded([&] {
    if (bytes <= kUntornBytesMax) {
      CopyUntorn<kToRegion>(to, from, bytes);
    } else {
      std::memcpy(to, from, bytes);
    }
  });
}

}  // namespace

void InstallBusErrorGuard() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous_action);
  });
}

bool CopyFromRegion(void* to, const std::byte* from, size_t bytes) {
  return Copy<false>(static_cast<std::byte*>(to), from, bytes);
}

bool CopyToRegion(std::byte* to, const void* from, size_t bytes) {
  return Copy<true>(to, static_cast<const std::byte*>(from), bytes);
}

bool CopyAndSumFromRegion(void* to, const std::byte* from, size_t bytes, uint32_t* crc) {
  RaceExempt exempt;
  // Copied first and summed where nobody can change it any more: the sum must fit the bytes sent.
  auto* target = static_cast<std::byte*>(to);
  if (!Guarded([&] { std::memcpy(target, from, bytes); })) return false;
  *crc = Crc32c(*crc, {target, bytes});
  return true;
}

bool AtomicFetchAdd(std::byte* at, uint64_t add, uint64_t* old_value) {
  RaceExempt exempt;
  return Guarded([&] {
    *old_value = __atomic_fetch_add(reinterpret_cast<Word*>(at), add, __ATOMIC_SEQ_CST);
  });
}

bool AtomicLoad(const std::byte* at, uint64_t* value) {
  RaceExempt exempt;
  return Guarded([&] {
    *value = __atomic_load_n(reinterpret_cast<const Word*>(at), __ATOMIC_SEQ_CST);
  });
}

bool AtomicExchangeIf(std::byte* at, uint64_t* expected, uint64_t desired, bool* done) {
  RaceExempt exempt;
  return Guarded([&] {
    Word found = *expected;
    *done = __atomic_compare_exchange_n(reinterpret_cast<Word*>(at), &found, desired, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    *expected = found;
  });
}

ssize_t SendRegionBytes(int socket, const msghdr& message, int flags) {
  RaceExempt exempt;
  return ::sendmsg(socket, &message, flags);
}

ssize_t ReceiveRegionBytes(int socket, msghdr& message, int flags) {
  RaceExempt exempt;
  return ::recvmsg(socket, &message, flags);
}

ssize_t WriteRegionBytes(int file, const std::byte* from, size_t bytes, off_t offset) {
  RaceExempt exempt;
  return ::pwrite(file, from, bytes, offset);
}

}  // namespace farpage
