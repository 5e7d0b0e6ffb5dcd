// Errors as absl::Status, and the exit code that each becomes.
//
// A failure that users, peers, disks or data can cause is a Status; a bug is a CHECK. The
// constructors below name the kind of failure, which fixes the exit code; WithContext adds where it
// happened on the way up: "pull table=user shard=3: no answer in 200 ms from host:port".
//
// Thread-safe (pure functions).
#ifndef PAGODA_COMMON_ERRORS_H_
#define PAGODA_COMMON_ERRORS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// The process's exit codes (sysexits.h where it has one).
enum class ExitCode : int {
  kDone = 0,
  kUsage = 2,       // A flag or a configuration.
  kData = 65,       // Data or a checkpoint that cannot be read as what it claims to be.
  kBug = 70,        // Ours.
  kMemory = 71,     // Memory or a budget.
  kIo = 74,         // A file, a disk, a port.
  kTemporary = 75,  // A peer that does not answer; the same command may work later.
  kPreempted = 85,  // Checkpoint written: queue the job again.
};

absl::Status UsageError(absl::string_view message);      // kInvalidArgument
absl::Status DataError(absl::string_view message);       // kDataLoss
absl::Status IoError(absl::string_view message);         // kFailedPrecondition
absl::Status MemoryError(absl::string_view message);     // kResourceExhausted
absl::Status TemporaryError(absl::string_view message);  // kUnavailable
absl::Status PreemptedError(absl::string_view message);  // kCancelled

// `path`: strerror(error_number), as an IoError.
absl::Status ErrnoError(int error_number, absl::string_view doing, absl::string_view path);

// The same code with "context: " before the message; OK stays OK.
absl::Status WithContext(const absl::Status& status, absl::string_view context);

ExitCode ExitCodeOf(const absl::Status& status);

#define PAGODA_CONCAT_INNER(a, b) a##b
#define PAGODA_CONCAT(a, b) PAGODA_CONCAT_INNER(a, b)

// Leaves the function with the Status of `expr` unless it is OK.
#define RETURN_IF_ERROR(expr)                           \
  do {                                                  \
    if (absl::Status status_ = (expr); !status_.ok()) { \
      return status_;                                   \
    }                                                   \
  } while (false)

// ASSIGN_OR_RETURN(auto x, F()): x = the value of F()'s StatusOr, or leaves with its Status.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_INNER(PAGODA_CONCAT(status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_INNER(var, lhs, expr) \
  auto var = (expr);                           \
  if (!var.ok()) return var.status();          \
  lhs = *std::move(var)

}  // namespace pagoda

#endif  // PAGODA_COMMON_ERRORS_H_
