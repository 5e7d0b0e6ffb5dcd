// What can be done with a checkpoint's rows away from training: digest, verify, look up, dump for
// serving.
//
// dump = OUTPUT/manifest.json
//        OUTPUT/tables/NAME/part-00000.safetensors     ids U64 [n] ascending, rows F32 [n, dim]
//        OUTPUT/dense.safetensors                      on request: the dense parameters, without
//        optimizer states
// NAME is a table, or a feature of a shared table: its ids are then the feature's own values,
// without the salt. A dump is written to OUTPUT.tmp and renamed: readers never see half of one.
//
// Thread-safe (functions over files).
#ifndef PAGODA_PS_DUMP_H_
#define PAGODA_PS_DUMP_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagoda {

// Recomputed from the files. `match`: only tables and dense tensors whose names match this glob;
// empty: all, and then it is the number of the run's done line.
absl::StatusOr<std::string> DigestCheckpoint(const std::string& checkpoint,
                                             const std::string& match);

// Manifest, every file's size and checksum, row counts, digest. One line that says what was
// checked.
absl::StatusOr<std::string> VerifyCheckpoint(const std::string& checkpoint);

// Holds one copy of all weights in memory. `output` is new, or an older dump, which is replaced.
absl::Status DumpCheckpoint(const std::string& checkpoint, const std::string& output, bool dense);

// `table`: a table's or a feature's name; `id`: the feature's value. NotFound when there is no such
// row.
absl::StatusOr<std::string> LookupCheckpoint(const std::string& checkpoint,
                                             const std::string& table, uint64_t id);

}  // namespace pagoda

#endif  // PAGODA_PS_DUMP_H_
