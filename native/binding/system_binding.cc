// What JavaScript may ask of the process itself.
#include <dirent.h>
#include <fcntl.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "binding/objects.h"

namespace farpage::binding {
namespace {

// The longest that a test may block the thread, in milliseconds.
constexpr double kBlockMsMax = 60'000;

void BlockThread(const Napi::CallbackInfo& info) {
  const double ms = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(ms > 0 && ms <= kBlockMsMax)) return;
  timespec left{static_cast<time_t>(ms / 1000),
                static_cast<long>((ms - static_cast<double>(static_cast<long>(ms / 1000)) * 1000) *
                                  1e6)};
  while (::nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

// One line of /proc/self/task/TID/FILE, without its newline (proc(5)).
std::string TaskLine(const char* task, const char* file) {
  const std::string path = std::string("/proc/self/task/") + task + "/" + file;
  const std::unique_ptr<FILE, int (*)(FILE*)> stream(std::fopen(path.c_str(), "re"), std::fclose);
  char line[256] = "";
  if (stream == nullptr || std::fgets(line, sizeof line, stream.get()) == nullptr) return "";
  std::string text(line);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Napi::Value ThreadTimes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array threads = Napi::Array::New(env);
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir("/proc/self/task"), ::closedir);
  if (tasks == nullptr) return threads;
  uint32_t count = 0;
  while (const dirent* entry = ::readdir(tasks.get())) {
    if (entry->d_name[0] == '.') continue;
    const std::string name = TaskLine(entry->d_name, "comm");
    // schedstat: nanoseconds on a core, nanoseconds waiting for one, time slices.
    const std::string times = TaskLine(entry->d_name, "schedstat");
    if (times.empty()) continue;
    Napi::Object thread = Napi::Object::New(env);
    thread.Set("name", Napi::String::New(env, name));
    thread.Set("cpuNs", Napi::Number::New(env, std::strtod(times.c_str(), nullptr)));
    threads.Set(count++, thread);
  }
  return threads;
}

// Whether anybody else has locked any of an open file, whichever way (fcntl(2), F_OFD_GETLK). No
// where the file system has no locks.
Napi::Value FileLocked(const Napi::CallbackInfo& info) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const int fd = info[0].IsNumber() ? info[0].As<Napi::Number>().Int32Value() : -1;
  const bool locked = ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  return Napi::Boolean::New(info.Env(), locked);
}

}  // namespace

void ExportSystem(Napi::Env env, Napi::Object exports) {
  exports.Set("blockThread", Napi::Function::New(env, BlockThread));
  exports.Set("fileLocked", Napi::Function::New(env, FileLocked));
  exports.Set("threadTimes", Napi::Function::New(env, ThreadTimes));
}

}  // namespace farpage::binding
