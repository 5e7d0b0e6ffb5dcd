#include "worker/train/prediction_output.h"

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/io/pipe.h"

namespace pagoda {
namespace {

// Of both names: the output's own and that under which it is written (AtomicFile).
absl::Status CheckIsNot(const std::string& path, const std::string& file, absl::string_view field) {
  std::error_code error;  // A file that is not there is no other.
  for (const std::string& written : {path, absl::StrCat(path, ".tmp")}) {
    if (!std::filesystem::equivalent(written, file, error)) continue;
    return UsageError(absl::StrCat("--output=", path, ": it would overwrite ", file, ", which ",
                                   field, " names; choose another name"));
  }
  return absl::OkStatus();
}

absl::Status CheckIsNoSource(const std::string& path, const DatasetConfig& dataset) {
  for (const SourceConfig& source : dataset.source()) {
    for (const std::string& pattern : source.path()) {
      if (IsPipe(pattern)) continue;
      const absl::StatusOr<std::vector<std::string>> files = Glob(pattern);
      if (!files.ok()) continue;  // Who reads it says so.
      for (const std::string& file : *files) {
        RETURN_IF_ERROR(CheckIsNot(path, file, "dataset.source.path"));
      }
    }
  }
  for (const FeatureConfig& feature : dataset.feature()) {
    if (feature.import().path().empty()) continue;
    RETURN_IF_ERROR(CheckIsNot(path, feature.import().path(), "feature.import.path"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PredictionOutput>> PredictionOutput::Open(
    const std::string& path, const DatasetConfig& dataset) {
  std::unique_ptr<PredictionOutput> output(new PredictionOutput(path));
  if (path.empty()) {
    output->stream_ = stdout;
    return output;
  }
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) {
    return UsageError(absl::StrCat("--output=", path, ": is a folder; name a file in it"));
  }
  RETURN_IF_ERROR(CheckIsNoSource(path, dataset));
  if (std::filesystem::is_other(status)) {
    output->stream_ = std::fopen(path.c_str(), "w");
    if (output->stream_ == nullptr) return ErrnoError(errno, "open --output", path);
    return output;
  }
  // The file that a link leads to is replaced, not the link.
  const std::filesystem::path file = std::filesystem::weakly_canonical(path, error);
  auto created = AtomicFile::Create(error ? path : file.string());
  if (!created.ok()) return WithContext(created.status(), absl::StrCat("--output=", path));
  output->file_ = *std::move(created);
  return output;
}

PredictionOutput::~PredictionOutput() {
  if (stream_ != nullptr && stream_ != stdout) std::fclose(stream_);
}

absl::Status PredictionOutput::Append(absl::string_view text) {
  if (file_ != nullptr) return file_->Append(text);
  if (std::fwrite(text.data(), 1, text.size(), stream_) == text.size()) return absl::OkStatus();
  return ErrnoError(errno, "write", path_.empty() ? "standard output" : path_);
}

absl::Status PredictionOutput::Commit() {
  if (file_ != nullptr) return file_->Commit();
  if (std::fflush(stream_) == 0) return absl::OkStatus();
  return ErrnoError(errno, "write", path_.empty() ? "standard output" : path_);
}

}  // namespace pagoda
