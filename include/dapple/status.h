// Status and Result<T>: how every fallible call of Dapple reports failure.
//
// No exception crosses a library boundary and no bad input aborts. A Status
// carries one line of text meant for the user: it names the file (or option)
// and the reason. Ownership: a Status owns its message.
#ifndef DAPPLE_STATUS_H_
#define DAPPLE_STATUS_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace dapple {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument,  // an option or argument makes no sense
  kNotFound,         // a file or name does not exist
  kCorrupt,          // a file contradicts itself or is cut short
  kUnsupported,      // well-formed, but Dapple cannot run it
  kDoesNotFit,       // the plan exceeds a cap: memory, context, slots
  kIo,               // the operating system refused a read or write
  kCancelled,        // the caller asked to stop
  kInternal,         // a bug or an unexpected library failure
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : code_(code), message_(std::move(message)) {}

  static Status Ok() { return Status(); }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  // One line, no trailing newline, no "error:" prefix.
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string message) {
  return Status(StatusCode::kInvalidArgument, std::move(message));
}
inline Status NotFound(std::string message) {
  return Status(StatusCode::kNotFound, std::move(message));
}
inline Status Corrupt(std::string message) {
  return Status(StatusCode::kCorrupt, std::move(message));
}
inline Status Unsupported(std::string message) {
  return Status(StatusCode::kUnsupported, std::move(message));
}
inline Status DoesNotFit(std::string message) {
  return Status(StatusCode::kDoesNotFit, std::move(message));
}
inline Status IoError(std::string message) {
  return Status(StatusCode::kIo, std::move(message));
}
inline Status Cancelled(std::string message) {
  return Status(StatusCode::kCancelled, std::move(message));
}
inline Status Internal(std::string message) {
  return Status(StatusCode::kInternal, std::move(message));
}

// A value or the Status that explains its absence.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace dapple

#define DAPPLE_CONCAT_INNER(a, b) a##b
#define DAPPLE_CONCAT(a, b) DAPPLE_CONCAT_INNER(a, b)

// Returns the Status of `expr` from the enclosing function unless it is ok.
#define DAPPLE_RETURN_IF_ERROR(expr)                                  \
  do {                                                                \
    if (::dapple::Status dapple_status = (expr); !dapple_status.ok()) \
      return dapple_status;                                           \
  } while (0)

// DAPPLE_ASSIGN_OR_RETURN(auto x, F()): x = F()'s value, or return its Status.
#define DAPPLE_ASSIGN_OR_RETURN(lhs, expr)                                    \
  DAPPLE_ASSIGN_OR_RETURN_INNER(DAPPLE_CONCAT(dapple_result_, __LINE__), lhs, \
                                expr)
#define DAPPLE_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                  \
  if (!result.ok()) return result.status();              \
  lhs = std::move(result).value()

#endif  // DAPPLE_STATUS_H_
