// Rows that a table begins with: of --init (worker/train/init_file.h) or of features' imports
// (worker/data/vectors.h).
#ifndef PAGODA_WORKER_DATA_INIT_ROWS_H_
#define PAGODA_WORKER_DATA_INIT_ROWS_H_

#include <cstdint>
#include <vector>

namespace pagoda {

struct InitRows {
  int table = 0;              // Index in DataSchema.tables and Schema.table.
  std::vector<uint64_t> ids;  // [n], any order, unique; stored (salted) ids
  std::vector<float> rows;    // [n, dim]
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_INIT_ROWS_H_
