#include "common/checkpoint/manifest.h"

#include <fcntl.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/io/file.h"

namespace pagoda {
namespace {

constexpr char kManifestName[] = "manifest.textproto";
constexpr absl::string_view kTrailerPrefix = "# xxh3 ";
constexpr absl::string_view kUnfinished = ".tmp";
constexpr absl::string_view kMovedAside = ".old.tmp";

std::string NameOfStep(int64_t step) { return absl::StrFormat("step-%012d", step); }

std::string Trailer(absl::string_view text) {
  return absl::StrFormat("%s%016x\n", kTrailerPrefix, HashBytes(text));
}

// The steps of the committed checkpoints, newest first; none when there is no directory.
absl::StatusOr<std::vector<int64_t>> CommittedSteps(const std::string& checkpoints_dir) {
  std::vector<int64_t> steps;
  if (!FileExists(checkpoints_dir)) return steps;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(checkpoints_dir));
  for (const std::string& name : names) {
    absl::string_view digits = name;
    int64_t step = 0;
    if (!absl::ConsumePrefix(&digits, "step-") || !absl::SimpleAtoi(digits, &step)) continue;
    if (NameOfStep(step) == name) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

// Keeps the first error instead of logging it.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (first_.empty()) first_ = absl::StrCat(line + 1, ":", column + 1, ": ", message);
  }
  const std::string& first() const { return first_; }

 private:
  std::string first_;
};

absl::StatusOr<Manifest> ParseManifest(const std::string& text) {
  FirstError errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  // So that a newer version is named as such and not as an unknown field.
  parser.AllowUnknownField(true);
  Manifest manifest;
  const bool parsed = parser.ParseFromString(text, &manifest);
  if (manifest.format_version() > kCheckpointVersion ||
      (parsed && manifest.format_version() == 0)) {
    return DataError(absl::StrCat("checkpoint format version ", manifest.format_version(),
                                  "; this program reads versions 1 to ", kCheckpointVersion));
  }
  if (!parsed) return DataError(errors.first());
  return manifest;
}

absl::Status VerifyFile(const std::string& checkpoint_dir, const std::string& name, uint64_t bytes,
                        uint64_t checksum) {
  if (name.empty() || absl::StrContains(name, '/')) {
    return DataError(absl::StrCat(checkpoint_dir, ": the manifest names a file \"", name,
                                  "\" outside the checkpoint"));
  }
  const std::string path = JoinPath(checkpoint_dir, name);
  if (!FileExists(path)) return DataError(absl::StrCat(path, ": missing"));
  ASSIGN_OR_RETURN(const uint64_t found_bytes, FileSize(path));
  if (found_bytes != bytes) {
    return DataError(
        absl::StrCat(path, ": ", found_bytes, " bytes, but the manifest says ", bytes));
  }
  ASSIGN_OR_RETURN(const uint64_t found, ChecksumFile(path));
  if (found != checksum) {
    return DataError(
        absl::StrFormat("%s: checksum %016x, but the manifest says %016x", path, found, checksum));
  }
  return absl::OkStatus();
}

absl::StatusOr<Manifest> ReadAndVerify(const std::string& checkpoint_dir) {
  ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(checkpoint_dir));
  RETURN_IF_ERROR(VerifyFiles(checkpoint_dir, manifest));
  return manifest;
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return ErrnoError(errno, absl::StrCat("rename ", from, " to"), to);
}

// Puts the directory `from` in the place of `to`, which exists.
absl::Status Replace(const std::string& from, const std::string& to) {
  // At once, so that a process that dies leaves the one or the other under the name.
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    RETURN_IF_ERROR(SyncFile(DirectoryOf(to)));
    return RemoveTree(from);
  }
  if (errno != EINVAL && errno != ENOSYS) {
    return ErrnoError(errno, absl::StrCat("exchange ", from, " for"), to);
  }
  // A file system that cannot (NFS): RemoveUnfinished mends a death between the two renames.
  const std::string aside = absl::StrCat(to, kMovedAside);
  RETURN_IF_ERROR(RemoveTree(aside));
  RETURN_IF_ERROR(Rename(to, aside));
  RETURN_IF_ERROR(Rename(from, to));
  RETURN_IF_ERROR(SyncFile(DirectoryOf(to)));
  return RemoveTree(aside);
}

// Renamed first: a process that dies in between leaves no half checkpoint under a committed name.
absl::Status RemoveCommitted(const std::string& path) {
  const std::string unfinished = absl::StrCat(path, kUnfinished);
  RETURN_IF_ERROR(RemoveTree(unfinished));
  RETURN_IF_ERROR(Rename(path, unfinished));
  return RemoveTree(unfinished);
}

// The name that `best` points at; empty when there is none.
std::string BestName(const std::string& checkpoints_dir) {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(JoinPath(checkpoints_dir, "best"), error);
  return error ? "" : target.filename().string();
}

bool HasManifest(const std::string& checkpoint_dir) {
  return FileExists(JoinPath(checkpoint_dir, kManifestName));
}

// The best, else the newest checkpoint of the run or of the directory of checkpoints `folder`;
// empty: it is neither.
std::string CheckpointBelow(const std::string& folder) {
  for (const std::string& checkpoints : {folder, JoinPath(folder, "checkpoints")}) {
    const std::string best = JoinPath(checkpoints, "best");
    if (HasManifest(best)) return best;
    const absl::StatusOr<std::vector<int64_t>> steps = CommittedSteps(checkpoints);
    if (!steps.ok() || steps->empty()) continue;
    const std::string newest = JoinPath(checkpoints, NameOfStep(steps->front()));
    if (HasManifest(newest)) return newest;
  }
  return "";
}

// What lies in the folder and is a committed checkpoint, or has some below it.
std::vector<std::string> NamesWithCheckpoints(const std::string& folder) {
  std::vector<std::string> found;
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(folder);
  if (!names.ok()) return found;
  for (const std::string& name : *names) {
    const std::string path = JoinPath(folder, name);
    if (absl::EndsWith(name, kUnfinished)) continue;
    if (HasManifest(path) || !CheckpointBelow(path).empty()) found.push_back(name);
  }
  return found;
}

}  // namespace

absl::StatusOr<std::string> BeginCheckpoint(const std::string& checkpoints_dir, int64_t step) {
  const std::string path = absl::StrCat(JoinPath(checkpoints_dir, NameOfStep(step)), kUnfinished);
  RETURN_IF_ERROR(RemoveTree(path));
  RETURN_IF_ERROR(MakeDirectories(path));
  return path;
}

absl::StatusOr<std::string> CommitCheckpoint(const std::string& temporary_dir,
                                             const Manifest& manifest) {
  absl::string_view committed = absl::StripSuffix(temporary_dir, "/");
  if (!absl::ConsumeSuffix(&committed, kUnfinished)) {
    return absl::InternalError(absl::StrCat(temporary_dir, ": not from BeginCheckpoint"));
  }
  Manifest stamped = manifest;
  stamped.set_format_version(kCheckpointVersion);
  std::string text;
  if (!google::protobuf::TextFormat::PrintToString(stamped, &text)) {
    return absl::InternalError("the manifest does not print");
  }
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(temporary_dir, kManifestName),
                                      absl::StrCat(text, Trailer(text))));
  RETURN_IF_ERROR(SyncFile(temporary_dir));
  const std::string path(committed);
  if (FileExists(path)) {  // A resumed run may write the step again that an earlier start wrote.
    RETURN_IF_ERROR(Replace(temporary_dir, path));
  } else {
    RETURN_IF_ERROR(Rename(temporary_dir, path));
    RETURN_IF_ERROR(SyncFile(DirectoryOf(path)));
  }
  return path;
}

absl::Status CheckIsCheckpoint(const std::string& path) {
  if (HasManifest(path)) return absl::OkStatus();
  const absl::string_view folder = absl::StripSuffix(path, "/");
  if (!FileExists(path)) {
    const std::vector<std::string> near = NamesWithCheckpoints(DirectoryOf(folder));
    const std::string name(folder.substr(folder.rfind('/') + 1));  // npos + 1 is 0.
    return absl::NotFoundError(
        absl::StrCat(path, ": no such folder", near.empty() ? "" : NearestHint(name, near)));
  }
  const std::string below = CheckpointBelow(std::string(folder));
  if (!below.empty()) {
    return absl::NotFoundError(
        absl::StrCat(path, ": is no checkpoint itself; did you mean ", below, "?"));
  }
  return DataError(absl::StrCat(JoinPath(path, kManifestName),
                                ": missing; not a checkpoint, or one that was not finished"));
}

absl::StatusOr<Manifest> ReadManifest(const std::string& checkpoint_dir) {
  RETURN_IF_ERROR(CheckIsCheckpoint(checkpoint_dir));
  const std::string path = JoinPath(checkpoint_dir, kManifestName);
  ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  const size_t trailer_bytes = Trailer("").size();
  const size_t text_bytes = contents.size() < trailer_bytes ? 0 : contents.size() - trailer_bytes;
  const std::string text = contents.substr(0, text_bytes);
  if (contents.substr(text_bytes) != Trailer(text)) {
    return DataError(absl::StrCat(path, ": wrong checksum: torn or changed after it was written"));
  }
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  if (!manifest.ok()) return WithContext(manifest.status(), path);
  return manifest;
}

absl::Status VerifyFiles(const std::string& checkpoint_dir, const Manifest& manifest) {
  for (const RowFile& file : manifest.rows()) {
    RETURN_IF_ERROR(VerifyFile(checkpoint_dir, file.name(), file.bytes(), file.checksum()));
  }
  if (!manifest.has_dense()) return absl::OkStatus();
  const DenseFile& dense = manifest.dense();
  return VerifyFile(checkpoint_dir, dense.name(), dense.bytes(), dense.checksum());
}

absl::StatusOr<FoundCheckpoint> FindNewest(const std::string& checkpoints_dir) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, CommittedSteps(checkpoints_dir));
  FoundCheckpoint found;
  for (const int64_t step : steps) {
    found.path = JoinPath(checkpoints_dir, NameOfStep(step));
    absl::StatusOr<Manifest> manifest = ReadAndVerify(found.path);
    if (manifest.ok()) {
      found.manifest = *std::move(manifest);
      return found;
    }
    found.skipped.push_back(std::string(manifest.status().message()));
  }
  if (found.skipped.empty()) {
    return absl::NotFoundError(absl::StrCat("no checkpoint in ", checkpoints_dir));
  }
  return DataError(absl::StrCat("no checkpoint in ", checkpoints_dir,
                                " can be read: ", absl::StrJoin(found.skipped, "; "),
                                "; restore one, or remove them to start afresh"));
}

absl::Status MarkBest(const std::string& checkpoints_dir, int64_t step) {
  const std::string best = JoinPath(checkpoints_dir, "best");
  const std::string temporary = absl::StrCat(best, kUnfinished);
  RETURN_IF_ERROR(RemoveTree(temporary));
  if (symlink(NameOfStep(step).c_str(), temporary.c_str()) != 0) {
    return ErrnoError(errno, "create link", temporary);
  }
  RETURN_IF_ERROR(Rename(temporary, best));
  return SyncFile(checkpoints_dir);
}

absl::Status RemoveUnfinished(const std::string& checkpoints_dir) {
  if (!FileExists(checkpoints_dir)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(checkpoints_dir));
  for (const std::string& name : names) {
    const std::string path = JoinPath(checkpoints_dir, name);
    absl::string_view committed = path;
    if (absl::ConsumeSuffix(&committed, kMovedAside) && !FileExists(std::string(committed))) {
      RETURN_IF_ERROR(Rename(path, std::string(committed)));
    } else if (absl::EndsWith(name, kUnfinished)) {
      RETURN_IF_ERROR(RemoveTree(path));
    }
  }
  return absl::OkStatus();
}

absl::Status RemoveOld(const std::string& checkpoints_dir, int keep) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> steps, CommittedSteps(checkpoints_dir));
  const std::string best = BestName(checkpoints_dir);
  for (size_t i = static_cast<size_t>(std::max(keep, 1)); i < steps.size(); ++i) {
    const std::string name = NameOfStep(steps[i]);
    if (name == best) continue;
    RETURN_IF_ERROR(RemoveCommitted(JoinPath(checkpoints_dir, name)));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
