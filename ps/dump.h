// What can be done with a checkpoint's rows away from training: digest, verify, look up, dump for
// serving.
//
// dump = OUTPUT/manifest.json                          step, digest, tables, smearing factors
//        OUTPUT/tables/NAME/part-00000.safetensors     ids U64 [n] ascending, rows F32 [n, dim]
//        OUTPUT/dense.safetensors                      on request: the dense parameters, as their
//        averages (train.ema_decay) where they have one, without optimizer states
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

// What a digest is of. Each is a list of globs with commas between them; empty: all.
struct DigestScope {
  std::string match;  // Names of tables and of dense tensors.
  // Names of optimizers: of their states and clocks only, beside weights and rows' counters.
  std::string optimizers;
};
// Recomputed from the files; with an empty scope it is the number of the run's done line.
absl::StatusOr<std::string> DigestCheckpoint(const std::string& checkpoint,
                                             const DigestScope& scope);

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
