// Ingest: the sources, read front to back once, become record files. Neighbouring sources of the
// same files (other rows of one file, say) share one reading.
//
// **Confined to one thread.**
#ifndef PAGODA_WORKER_DATA_INGEST_H_
#define PAGODA_WORKER_DATA_INGEST_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "worker/data/batch.h"
#include "worker/data/record.h"

namespace pagoda {

// A source with its globs resolved.
struct ResolvedSource {
  SourceConfig config;
  // For stamps and messages: relative to the configuration's folder.
  std::vector<std::string> names;
  std::vector<std::string> paths;  // As opened; one "" for a format that reads no files.
};

// What is known of a folder of record files beside the files.
struct RecordSummary {
  std::array<int64_t, 3> rows = {};  // [kSplits]
  int64_t bad_rows = 0;
  // [task]: training rows in the sample space, of weight above 0, with label 1 and with label 0.
  // Those that negative sampling leaves out do not count.
  std::vector<int64_t> positives, negatives;
  // Of the record files together, when a source is a pipe: what is left of what its command gave.
  // Taken when they are written, since to read them all again at each start may take minutes.
  uint64_t bytes = 0, checksum = 0;

  std::string ToText() const;
  // DataError when `text` is not one, or not of this version.
  static absl::StatusOr<RecordSummary> FromText(const std::string& text);
};

struct IngestOptions {
  const DatasetConfig* config;
  const InputLayout* input;
  const RecordLayout* layout;
  std::string folder;                           // Exists; record files go here.
  std::string quarantine_path;                  // Bad rows, when skipped; empty: nowhere.
  std::vector<std::string> strict_funnel = {};  // DatasetOptions'.
  // Negatives that negative sampling leaves out stay, of weight 0, whatever the other tasks' labels
  // are. Else what weighs nothing in any task goes.
  bool keeps_weightless = false;
};

// Writes the record files of all splits (not the summary, and no stamp into it). DataError
// "file:line:column: ..." for a bad row when bad_rows is FAIL, and when SKIP has skipped
// bad_rows_cap.
absl::StatusOr<RecordSummary> Ingest(const IngestOptions& options,
                                     const std::vector<ResolvedSource>& sources);

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_INGEST_H_
