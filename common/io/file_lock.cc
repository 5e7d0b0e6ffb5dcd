#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "common/io/unique_fd.h"

namespace pagoda {
namespace {

constexpr int64_t kPollMs = 50;

// What the holder wrote about itself; never fails, it is for a message only.
std::string HolderOf(int fd) {
  char text[256];
  const ssize_t count = pread(fd, text, sizeof(text), 0);
  if (count <= 0) return "an unnamed holder";
  return std::string(text, std::find(text, text + count, '\n'));
}

absl::Status WriteHolder(int fd, const std::string& path, const std::string& holder) {
  const std::string line = absl::StrCat(holder, "\n");
  if (ftruncate(fd, 0) != 0 ||
      pwrite(fd, line.data(), line.size(), 0) != static_cast<ssize_t>(line.size())) {
    return ErrnoError(errno, "write lock", path);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> FileLock::Acquire(const std::string& path,
                                                            const std::string& holder,
                                                            int64_t timeout_ms) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.ok()) return ErrnoError(errno, "open lock", path);
  Clock& clock = *Clock::Steady();
  const Deadline deadline = Deadline::After(clock, timeout_ms);
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return ErrnoError(errno, "lock", path);
    if (deadline.Passed(clock)) {
      return TemporaryError(absl::StrCat("lock ", path, ": held by ", HolderOf(fd.get()),
                                         ", still after ", timeout_ms,
                                         " ms; end that job or use another folder"));
    }
    clock.SleepMs(std::min(kPollMs, deadline.RemainingMs(clock)));
  }
  RETURN_IF_ERROR(WriteHolder(fd.get(), path, holder));
  return std::unique_ptr<FileLock>(new FileLock(fd.release()));
}

// The file stays: removing it would let a waiter lock a file that nobody else can see.
FileLock::~FileLock() { close(fd_); }

}  // namespace pagoda
