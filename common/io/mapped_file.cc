#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "common/io/unique_fd.h"

namespace pagoda {

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, "open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoError(errno, "size of", path);
  if (!S_ISREG(info.st_mode)) return IoError(absl::StrCat("map ", path, ": not a file"));
  const size_t size = static_cast<size_t>(info.st_size);
  // mmap refuses a length of zero.
  if (size == 0) return std::unique_ptr<MappedFile>(new MappedFile(nullptr, 0));
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return ErrnoError(errno, "map", path);
  return std::unique_ptr<MappedFile>(new MappedFile(static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (size_ > 0) munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace pagoda
