// The file that --mode=predict writes: refused before any work is done when it cannot be written or
// is one of the files that are read, and whole or not there at the end.
//
// **Confined to one thread.**
#ifndef PAGODA_WORKER_TRAIN_PREDICTION_OUTPUT_H_
#define PAGODA_WORKER_TRAIN_PREDICTION_OUTPUT_H_

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/file.h"
#include "proto/config.pb.h"

namespace pagoda {

class PredictionOutput {
 public:
  // path: --output; empty: standard output. A device or a named pipe is written as it is.
  // `dataset`: paths are absolute. UsageError when `path` is a folder or a file that the data set
  // reads.
  static absl::StatusOr<std::unique_ptr<PredictionOutput>> Open(const std::string& path,
                                                                const DatasetConfig& dataset);
  ~PredictionOutput();
  PredictionOutput(const PredictionOutput&) = delete;
  PredictionOutput& operator=(const PredictionOutput&) = delete;

  absl::Status Append(absl::string_view text);
  // Once, at the end.
  absl::Status Commit();

 private:
  explicit PredictionOutput(const std::string& path) : path_(path) {}

  const std::string path_;
  // One of the two:
  std::unique_ptr<AtomicFile> file_;
  std::FILE* stream_ = nullptr;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_PREDICTION_OUTPUT_H_
