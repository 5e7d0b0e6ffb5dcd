// Row files from weights that come from outside (worker's --init, a feature's import), for a shard
// to load.
//
// Thread-safe (a function over files).
#ifndef PAGODA_PS_GIVEN_ROWS_H_
#define PAGODA_PS_GIVEN_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "proto/checkpoint.pb.h"
#include "proto/wire.pb.h"

namespace pagoda {

struct GivenRows {
  int table = 0;                    // Index in Schema.table.
  absl::Span<const uint64_t> ids;   // [n], any order, unique
  absl::Span<const float> weights;  // [n, dim of the table]
};

// Writes them into `directory`: weights as given, optimizer states as of a new row. `tables` in
// ascending order of table. The files in it; none when there are no rows.
absl::StatusOr<std::vector<RowFile>> WriteGivenRows(const std::string& directory,
                                                    const Schema& schema,
                                                    absl::Span<const GivenRows> tables);

}  // namespace pagoda

#endif  // PAGODA_PS_GIVEN_ROWS_H_
