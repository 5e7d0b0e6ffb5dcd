// The columns that a configuration reads: whether they are there, and that none is a label's that a
// feature reads, too.
//
// What is checked depends on what is known. Of a file with a header, only the file knows its
// columns: then a name that an expression would cut up ("a-b") is taken for a column at first, and
// everything is checked again when the file is open.
//
// Thread-safe (values and pure functions).
#ifndef PAGODA_WORKER_DATA_COLUMNS_H_
#define PAGODA_WORKER_DATA_COLUMNS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"

namespace pagoda {

struct Columns {
  std::vector<std::string> names;  // Empty: only the files know.

  // UsageError lists near names.
  absl::Status Check(const std::string& column) const;
  // The columns that an expression reads, of which there must be at least one.
  absl::StatusOr<std::vector<std::string>> CheckExpression(const std::string& text) const;
};

// UsageError when a feature reads a column that a label reads, however the two spell it: a label is
// an expression, and where rows name their values `KEY[i]` is a part of KEY (of which another part
// may be a feature's). `tasks` [task]: those whose labels these columns hold. REQUIRES: the format
// exists, the labels parse.
absl::Status CheckLeaks(const DatasetConfig& config, const Columns& columns,
                        const std::vector<bool>& tasks);

// Makes a data set of rows to be predicted, whose labels nobody knows yet: of a task without a
// label neither label, sample space nor sample weight is read, so that columns which only those
// read need not be there; its records weigh nothing, and negative sampling leaves none out. So it
// is with the column that splits rows where each source says its split.
void LeaveLabelsOut(DatasetConfig* config);

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_COLUMNS_H_
