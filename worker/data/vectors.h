// Embeddings from files (FeatureConfig.import), matched to a feature's values.
//
// format          file; text may be compressed (.gz .bz2 .zst)
// tsv             VALUE (TAB number){dim}                        a line a value
// word2vec        COUNT DIM, then VALUE (" " number){dim} " "?   lines, as word2vec -binary 0
// word2vec_binary COUNT DIM "\n", then COUNT times VALUE " " f32{dim}, "\n" before VALUE or not;
//                 little-endian, as word2vec -binary 1
// safetensors     `ids` U64 or I64 [n], `rows` F32 or F64 [n, dim]: as a table in a dump
//
// In both forms of word2vec "</s>" counts among COUNT and is no value: it stands for the end of a
// sentence (first in a file of word2vec, anywhere in one of fastText).
//
// A value becomes an id as the feature's own values do (worker/data/encoder.h). DataError
// "file:line: ..." (of the binary forms "file: vector n: ...", from 1): another dim, a number that
// is not finite, a value outside the vocabulary or that is there twice, a file that ends early.
//
// Thread-safe (functions over files).
#ifndef PAGODA_WORKER_DATA_VECTORS_H_
#define PAGODA_WORKER_DATA_VECTORS_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "worker/data/dataset.h"
#include "worker/data/init_rows.h"

namespace pagoda {

// UsageError for imports that cannot be, whatever the files hold: an unknown format, two imports
// into one id space; and for a table of which one feature is frozen and another is not. REQUIRES:
// the data set passes ValidateDataset (common/config.h).
absl::Status CheckImports(const Config& config, const DataSchema& data);

// Indices in DataSchema.tables, ascending. REQUIRES: CheckImports passed.
std::vector<int> FrozenTables(const Config& config, const DataSchema& data);

// All features' files, by ascending table. REQUIRES: CheckImports passed.
absl::StatusOr<std::vector<InitRows>> ReadImports(const Config& config, const DataSchema& data);

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_VECTORS_H_
