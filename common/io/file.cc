#include "common/io/file.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/io/unique_fd.h"

namespace pagoda {
namespace {

// Large enough that a read costs little beside its bytes, small enough for L2.
constexpr size_t kChunkBytes = 256 * 1024;

// Calls visit(chunk) for the bytes of the file in order.
template <typename Visit>
absl::Status ForEachChunk(const std::string& path, Visit visit) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, "open", path);
  std::string buffer(kChunkBytes, '\0');
  for (;;) {
    const ssize_t count = read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoError(errno, "read", path);
    if (count == 0) return absl::OkStatus();
    visit(absl::string_view(buffer.data(), static_cast<size_t>(count)));
  }
}

}  // namespace

bool FileExists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

absl::StatusOr<uint64_t> FileSize(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoError(errno, "size of", path);
  if (!S_ISREG(info.st_mode)) return IoError(absl::StrCat("size of ", path, ": not a file"));
  return static_cast<uint64_t>(info.st_size);
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::string contents;
  RETURN_IF_ERROR(ForEachChunk(
      path, [&](absl::string_view chunk) { contents.append(chunk.data(), chunk.size()); }));
  return contents;
}

absl::StatusOr<uint64_t> ChecksumFile(const std::string& path) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(),
                                                                              XXH3_freeState);
  XXH3_64bits_reset(state.get());
  RETURN_IF_ERROR(ForEachChunk(path, [&](absl::string_view chunk) {
    XXH3_64bits_update(state.get(), chunk.data(), chunk.size());
  }));
  return XXH3_64bits_digest(state.get());
}

absl::Status SyncFile(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return ErrnoError(errno, "open", path);
  if (fsync(fd.get()) != 0) return ErrnoError(errno, "fsync", path);
  return absl::OkStatus();
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return IoError(absl::StrCat("make folder ", path, ": ", error.message()));
  if (!std::filesystem::is_directory(path, error)) {
    return IoError(absl::StrCat("make folder ", path, ": a file of this name is in the way"));
  }
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return IoError(absl::StrCat("remove ", path, ": ", error.message()));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator entry(path, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    names.push_back(entry->path().filename().string());
    entry.increment(error);
  }
  if (error) return IoError(absl::StrCat("list ", path, ": ", error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  if (folder.empty() || absl::StartsWith(name, "/")) return std::string(name);
  if (absl::EndsWith(folder, "/")) return absl::StrCat(folder, name);
  return absl::StrCat(folder, "/", name);
}

std::string DirectoryOf(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<size_t>(slash, 1)));
}

absl::StatusOr<std::vector<std::string>> Glob(const std::string& pattern) {
  if (FileExists(pattern)) return std::vector<std::string>{pattern};
  glob_t found = {};
  const int result = glob(pattern.c_str(), 0, nullptr, &found);
  std::vector<std::string> paths;
  for (size_t i = 0; result == 0 && i < found.gl_pathc; ++i) paths.push_back(found.gl_pathv[i]);
  globfree(&found);
  if (result == GLOB_NOSPACE || result == GLOB_ABORTED) {
    return IoError(absl::StrCat("match ", pattern, ": the folders could not be read"));
  }
  if (paths.empty()) return absl::NotFoundError(absl::StrCat("no file matches ", pattern));
  std::sort(paths.begin(), paths.end());  // By bytes: glob(3) sorts by the locale.
  return paths;
}

}  // namespace pagoda
