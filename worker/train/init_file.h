// --init=FILE.safetensors: initial values from outside, such as another framework's for a parity
// test.
//
// Dense parameters by their names; rows of a table as "TABLE.ids" U64 [n] and "TABLE.rows" F32
// [n, dim]. These are ids as the table stores them: a feature's own value, salted where several
// features share the table (FeatureSchema in proto/wire.proto has the salt).
//
// Rows reach the shards by the way that rows always come: a checkpoint with row files, named in
// hello. How row files are written is the servers' knowledge, so the composition root hands that
// in.
//
// Thread-safe (functions over files).
#ifndef PAGODA_WORKER_TRAIN_INIT_FILE_H_
#define PAGODA_WORKER_TRAIN_INIT_FILE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checkpoint/safetensors.h"
#include "proto/wire.pb.h"
#include "worker/data/init_rows.h"

namespace pagoda {

struct InitFile {
  std::vector<Tensor> dense;
  std::vector<InitRows> rows;
};

// DataError for a tensor whose shape or type does not fit, ids that repeat, ids without rows.
absl::StatusOr<InitFile> ReadInitFile(const std::string& path, const Schema& schema);

// Writes row files into `directory`: weights as given, states as of a new row.
using RowWriter = std::function<absl::StatusOr<std::vector<RowFile>>(
    const std::string& directory, const Schema& schema, const std::vector<InitRows>& rows)>;

// A committed checkpoint of step 0 under `folder` that holds the rows which `write` leaves in a
// directory; its path.
absl::StatusOr<std::string> WriteRowCheckpoint(
    const std::string& folder, const Schema& schema,
    const std::function<absl::StatusOr<std::vector<RowFile>>(const std::string& directory)>& write);
// Where that is, for processes that did not write it.
std::string RowCheckpointPath(const std::string& folder);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_INIT_FILE_H_
