// A data set: sources named by a configuration, read once, encoded, and served by record number.
//
// The sources (any format, compressed, a pipe) are read front to back once into a record file per
// split (worker/data/record.h): fixed-width records that every rank maps into memory. So any record
// can be had by number, which is what a keyed permutation of all records needs, and a restart does
// not parse again. The folder's name holds a fingerprint of the configuration and of the sources'
// contents; of a pipe it holds the command only, so that a run which is resumed keeps the records
// it started with. A run that starts fresh reads pipes again; what only evaluates does so in a
// cache of its own, since what a command gives may change between two runs.
//
// Thread-safe after Open (const).
#ifndef PAGODA_WORKER_DATA_DATASET_H_
#define PAGODA_WORKER_DATA_DATASET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/wire.pb.h"
#include "worker/data/batch.h"
#include "worker/data/order.h"

namespace pagoda {

// What the configuration alone says; cheap, needs no file. Shared tables get their slots here.
struct DataSchema {
  InputLayout input;
  std::vector<TableSchema> tables;  // `optimizer` and `init_range` are left to the caller.
  std::vector<std::string> tasks;   // Names, in configuration order.
};
// UsageError for unknown columns, bad predicates, features that share a table with another dim, ...
// REQUIRES: the data set passes ValidateDataset (common/config.h).
absl::StatusOr<DataSchema> MakeDataSchema(const Config& config);

// Whether a source is a command's output, which may differ each time it is read.
bool ReadsPipe(const DatasetConfig& config);

struct DatasetOptions {
  std::string config_dir;  // Relative source paths start here.
  std::string cache_dir;   // Record files go here; exists.
  std::string quarantine_path;
  bool reads_pipes_again = false;  // Even where their records are in the cache.
  // Tasks of which a row that has a later one's label has the earlier ones', too, or is a bad row
  // (worker/data/funnel_check.h). Records read with other steps, or none, are not taken for these.
  std::vector<std::string> strict_funnel = {};
};

class Dataset {
 public:
  // Reads the sources into record files unless they are there already. One process of a job calls
  // this first, the others after it (they find the files). `statistics` empty: computed from the
  // training rows; else those are used.
  static absl::StatusOr<std::unique_ptr<Dataset>> Open(const Config& config,
                                                       const DatasetOptions& options,
                                                       const Statistics* statistics);
  virtual ~Dataset() = default;

  virtual const DataSchema& schema() const = 0;
  virtual const Statistics& statistics() const = 0;
  // What the sources hold; of each pipe, what all records hold that were made of it and the others.
  virtual const std::vector<SourceStamp>& sources() const = 0;
  virtual int64_t bad_rows() const = 0;
  virtual int64_t rows(Split split) const = 0;
  // [task]: examples of TRAIN that are in the sample space, weigh something and have label 1, and
  // label 0; for errors ("label with no positives") and automatic weights. What negative sampling
  // leaves out does not count.
  virtual const std::vector<int64_t>& positives() const = 0;
  virtual const std::vector<int64_t>& negatives() const = 0;

  // [task]: the records of TRAIN that weigh something in its loss; reads all records, once.
  virtual std::vector<RecordRuns> TaskRecords() const = 0;

  // The examples with these record numbers, in this order.
  virtual absl::Status Fill(Split split, absl::Span<const int64_t> records, Batch* batch) const = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_DATASET_H_
