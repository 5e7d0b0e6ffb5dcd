#include "common/errors.h"

#include <cstring>

namespace pagoda {

absl::Status UsageError(absl::string_view message) { return absl::InvalidArgumentError(message); }
absl::Status DataError(absl::string_view message) { return absl::DataLossError(message); }
absl::Status IoError(absl::string_view message) { return absl::FailedPreconditionError(message); }
absl::Status MemoryError(absl::string_view message) {
  return absl::ResourceExhaustedError(message);
}
absl::Status TemporaryError(absl::string_view message) { return absl::UnavailableError(message); }
absl::Status PreemptedError(absl::string_view message) { return absl::CancelledError(message); }

absl::Status ErrnoError(int error_number, absl::string_view doing, absl::string_view path) {
  return IoError(absl::StrCat(doing, " ", path, ": ", std::strerror(error_number)));
}

absl::Status WithContext(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
      return ExitCode::kUsage;
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kOutOfRange:
      return ExitCode::kData;
    case absl::StatusCode::kResourceExhausted:
      return ExitCode::kMemory;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
      return ExitCode::kIo;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
      return ExitCode::kTemporary;
    case absl::StatusCode::kCancelled:
      return ExitCode::kPreempted;
    default:
      return ExitCode::kBug;
  }
}

}  // namespace pagoda
