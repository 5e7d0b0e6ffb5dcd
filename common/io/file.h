// Files: whole reads, atomic writes, folders, locks, mappings, and streams through decompressors
// and pipes.
//
// Every error names the path and the reason: IoError for what the system refuses, DataError for
// contents. Durability: a file is safe once its bytes, then its name (the folder) were fsynced;
// AtomicFile does both.
//
// Thread-safe (functions). Objects are confined to one thread at a time.
#ifndef PAGODA_COMMON_IO_FILE_H_
#define PAGODA_COMMON_IO_FILE_H_

#include <cstddef>
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
absl::Status SyncFile(const std::string& path);         // fsync of a file or folder.
absl::Status MakeDirectories(const std::string& path);  // And its parents; fine when they exist.
absl::Status RemoveTree(const std::string& path);       // Fine when it is not there.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);  // Names, sorted.
// XXH3-64 of the file's bytes.
absl::StatusOr<uint64_t> ChecksumFile(const std::string& path);
std::string JoinPath(absl::string_view folder, absl::string_view name);  // An absolute name wins.
// "a/b/c.txt" -> "a/b"; "c.txt" -> ".".
std::string DirectoryOf(absl::string_view path);
// Paths matching a glob, sorted; a pattern without wildcards is itself when the file exists.
// NotFound when nothing matches.
absl::StatusOr<std::vector<std::string>> Glob(const std::string& pattern);

// A file that appears under its name whole or not at all: written as path.tmp, renamed by Commit.
class AtomicFile {
 public:
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& path);
  ~AtomicFile();  // Removes path.tmp unless committed.
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  absl::Status Append(absl::string_view bytes);
  // fsync, rename, fsync of the folder. Once, at the end.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, int fd);
  const std::string path_;
  const std::string temporary_path_;
  int fd_;  // -1 once committed.
};

// An exclusive lock on a file (flock), held until destruction; the file names the holder
// (host:pid).
class FileLock {
 public:
  // Waits up to timeout_ms, then TemporaryError naming the holder.
  static absl::StatusOr<std::unique_ptr<FileLock>> Acquire(const std::string& path,
                                                           const std::string& holder,
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

// A byte stream read front to back: a plain file, .gz, .bz2, .zst by its ending, or a command's
// output ("COMMAND |", run by sh). A truncated or corrupted stream is a DataError, a command that
// fails an IoError, never a short read. (sh reports the last command of a pipeline only: in
// "A | B |" a failure of A shows only if B fails of it.)
class ByteReader {
 public:
  static absl::StatusOr<std::unique_ptr<ByteReader>> Open(const std::string& path);
  virtual ~ByteReader() = default;
  // Up to `capacity` bytes, capacity > 0; 0 at the end, where all checks have passed.
  virtual absl::StatusOr<size_t> Read(char* out, size_t capacity) = 0;
};

}  // namespace pagoda

#endif  // PAGODA_COMMON_IO_FILE_H_
