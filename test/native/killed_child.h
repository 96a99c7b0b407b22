// A test's own process once more, to be killed, and what it leaves in memory that outlives it.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "check.h"
#include "environment.h"

extern char** environ;

namespace farpage::test {

inline constexpr const char* kKilledChild = "FARPAGE_KILLED_CHILD";

// In the process that is to be killed: what its parent says. Null: this is no such process.
inline const char* ToldByParent() { return std::getenv(kKilledChild); }

// Starts `test` as a child that is told `text` and has its temporary files below `folder`. What a
// sanitizer has to say ends it at once: killed later, nobody would hear of it.
inline pid_t StartChild(const char* test, const std::string& text, const std::string& folder) {
  std::vector<std::string> own = {std::string(kKilledChild) + "=" + text, "TMPDIR=" + folder};
  const char* options = std::getenv("TSAN_OPTIONS");
  own.push_back("TSAN_OPTIONS=halt_on_error=1:" + std::string(options == nullptr ? "" : options));
  std::vector<char*> environment;
  for (std::string& entry : own) environment.push_back(entry.data());
  for (char** entry = environ; *entry != nullptr; entry++) {
    const std::string_view text_of(*entry);
    const bool replaced = text_of.starts_with("TMPDIR=") || text_of.starts_with("TSAN_OPTIONS=");
    if (!replaced) environment.push_back(*entry);
  }
  environment.push_back(nullptr);
  const std::array<const char*, 4> words = {"native_test", "--run", test, nullptr};
  pid_t pid = 0;
  if (::posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr,
                    const_cast<char* const*>(words.data()), environment.data()) != 0) {
    std::abort();
  }
  return pid;
}

// The last writes of a dead process hold the locks of its files, on a busy device for longer than
// who opens them next waits for that (file_store.h, kLockWaitNs).
inline void AwaitUnlocked(const std::string& folder) {
  const uint64_t deadline = NowNs() + 20'000'000'000;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(folder, gone)) {
    if (!entry.is_regular_file(gone)) continue;
    const int file = ::open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
    struct flock whole{};
    whole.l_type = F_WRLCK;
    while (::fcntl(file, F_OFD_SETLK, &whole) != 0 && errno == EAGAIN && NowNs() < deadline) {
      ::usleep(1000);
    }
    ::close(file);
  }
}

// How a child ended, which fails the test if it was neither killed nor well. True: killed.
inline bool EndedKilled(int status) {
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  CHECK(killed || status == 0);
  return killed;
}

// Runs such a child. With `end_us` it is killed after that time, else it has to see to it itself.
// False: it lived to its end.
inline bool IsKilled(const char* test, const std::string& text, const std::string& folder,
                     uint64_t end_us) {
  const pid_t pid = StartChild(test, text, folder);
  if (end_us != 0) {
    ::usleep(static_cast<useconds_t>(end_us));
    ::kill(pid, SIGKILL);
  }
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) std::abort();
  AwaitUnlocked(folder);
  return EndedKilled(status);
}

// The same, killed once `moment` says so, which is asked all the time.
template <typename Moment>
bool IsKilledAt(const char* test, const std::string& text, const std::string& folder,
                Moment moment) {
  const pid_t pid = StartChild(test, text, folder);
  int status = 0;
  pid_t ended = 0;
  while ((ended = ::waitpid(pid, &status, WNOHANG)) == 0) {
    if (moment()) ::kill(pid, SIGKILL);
    ::usleep(100);
  }
  if (ended != pid) std::abort();
  AwaitUnlocked(folder);
  return EndedKilled(status);
}

// The contents of the file at `path`, zeros at first, shared by all who ask for them.
template <typename Contents>
Contents* ShareFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, sizeof(Contents)) != 0) std::abort();
  void* at = ::mmap(nullptr, sizeof(Contents), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (at == MAP_FAILED) std::abort();
  return static_cast<Contents*>(at);
}

}  // namespace farpage::test
