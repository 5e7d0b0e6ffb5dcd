// Rows of a checkpoint, carried over to another job's tables (worker's --warm_start).
//
// Tables are matched by name, states by optimizer (common/optim/same_state.h). What the new job has
// besides starts as in a new row; counters start at zero.
//
// Thread-safe (a function over files).
#ifndef PAGODA_PS_CARRIED_ROWS_H_
#define PAGODA_PS_CARRIED_ROWS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"
#include "proto/wire.pb.h"

namespace pagoda {

// Writes them into `directory`; the files in it. UsageError: a table of another dim.
// REQUIRES: the checkpoint's files verify (common/checkpoint/manifest.h).
absl::StatusOr<std::vector<RowFile>> CarryRows(const std::string& checkpoint,
                                               const Manifest& manifest, const Schema& schema,
                                               const std::string& directory);

}  // namespace pagoda

#endif  // PAGODA_PS_CARRIED_ROWS_H_
