// A file descriptor that closes itself. Inside common/io only.
#ifndef PAGODA_COMMON_IO_UNIQUE_FD_H_
#define PAGODA_COMMON_IO_UNIQUE_FD_H_

#include <unistd.h>

namespace pagoda {

class UniqueFd {
 public:
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  bool ok() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

}  // namespace pagoda

#endif  // PAGODA_COMMON_IO_UNIQUE_FD_H_
