// Result<T>: a value or an Error. No exceptions anywhere in the core.
#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"

namespace farpage {

// What went wrong: our code, the errno where a system call said so, and what was being done
// (the system call or a short phrase; always a literal, so that an Error never allocates).
struct Error {
  Code code = Code::kInternal;
  int system_errno = 0;
  const char* context = "";
};

// The code that fits an errno met while working on a file or on memory.
constexpr Code CodeOfErrno(int number) {
  switch (number) {
    case ENOENT: case ENOTDIR: return Code::kFileNotFound;
    case EACCES: case EPERM: case EROFS: return Code::kFileAccess;
    case ENOSPC: case EDQUOT: case EFBIG: return Code::kNoSpace;
    case ENOMEM: return Code::kMemoryFull;
    case EADDRINUSE: return Code::kAddressInUse;
    case ECONNREFUSED: case ECONNRESET: case EPIPE: case ENOTCONN: return Code::kConnection;
    case ETIMEDOUT: return Code::kTimeout;
    case EINVAL: return Code::kArgument;
    default: return Code::kIo;
  }
}

inline Error SystemError(const char* context, int number = errno) {
  return Error{CodeOfErrno(number), number, context};
}

// Holds a T or an Error; the caller looks before it takes. Thread: any, as T.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error) : error_(error) {}         // NOLINT: implicit by design

  [[nodiscard]] bool ok() const { return value_.has_value(); }
  [[nodiscard]] const Error& error() const { return error_; }
  [[nodiscard]] T& value() & { return *value_; }
  [[nodiscard]] const T& value() const& { return *value_; }
  [[nodiscard]] T&& value() && { return std::move(*value_); }

 private:
  std::optional<T> value_;
  Error error_{Code::kOk, 0, ""};
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(error) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const { return error_.code == Code::kOk; }
  [[nodiscard]] const Error& error() const { return error_; }

 private:
  Error error_{Code::kOk, 0, ""};
};

using Status = Result<void>;

}  // namespace farpage
