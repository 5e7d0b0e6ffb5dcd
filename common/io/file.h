// Files: whole reads, atomic writes, folders. Every error names the path and the reason (IoError; DataError for
// contents).
//
// Thread-safe (functions).
#ifndef PAGODA_COMMON_IO_FILE_H_
#define PAGODA_COMMON_IO_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace pagoda {

bool FileExists(const std::string& path);
absl::StatusOr<uint64_t> FileSize(const std::string& path);
absl::StatusOr<std::string> ReadFile(const std::string& path);
// Into path.tmp, fsync, rename over path, fsync of the folder.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);
absl::Status SyncFile(const std::string& path);       // fsync of a file or folder.
absl::Status MakeDirectories(const std::string& path);  // And its parents; fine when they exist.
absl::Status RemoveTree(const std::string& path);     // Fine when it is not there.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);  // Names, sorted.
// XXH3-64 of the file's bytes.
absl::StatusOr<uint64_t> ChecksumFile(const std::string& path);
std::string JoinPath(absl::string_view folder, absl::string_view name);  // An absolute name wins.
// "a/b/c.txt" -> "a/b"; "c.txt" -> ".".
std::string DirectoryOf(absl::string_view path);
// Paths matching a glob, sorted; a pattern without wildcards is itself when the file exists. NotFound when nothing matches.
absl::StatusOr<std::vector<std::string>> Glob(const std::string& pattern);

// An exclusive lock on a file (flock), held until destruction; the file names the holder (host:pid).
class FileLock {
 public:
  // Waits up to timeout_ms, then TemporaryError naming the holder.
  static absl::StatusOr<std::unique_ptr<FileLock>> Acquire(const std::string& path, const std::string& holder,
                                                           int64_t timeout_ms);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// A file mapped read-only.
class MappedFile {
 public:
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  absl::Span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}
  const std::byte* data_;
  size_t size_;
};

// A byte stream read front to back: a plain file, .gz, .bz2, .zst by its ending, or a command's output ("COMMAND |").
// A truncated or corrupted stream and a command that fails are errors, never a short read.
class ByteReader {
 public:
  static absl::StatusOr<std::unique_ptr<ByteReader>> Open(const std::string& path);
  virtual ~ByteReader() = default;
  // Up to `capacity` bytes; 0 at the end.
  virtual absl::StatusOr<size_t> Read(char* out, size_t capacity) = 0;
};

}  // namespace pagoda

#endif  // PAGODA_COMMON_IO_FILE_H_
