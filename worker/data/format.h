// Formats: how a source becomes rows of text fields.
//
// To add one: a file NAME.cc here that derives a RowReader and ends in PAGODA_REGISTER_FORMAT;
// nothing else changes. Everything behind the fields (predicates, features, splits, bad rows) is
// shared.
#ifndef PAGODA_WORKER_DATA_FORMAT_H_
#define PAGODA_WORKER_DATA_FORMAT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/config.pb.h"
#include "worker/data/predicate.h"

namespace pagoda {

// Views are valid until the reader's next call.
struct Row {
  std::vector<absl::string_view> fields;  // One a column. A missing value is empty.
  int64_t line = 0;        // Of its first byte, from 1; rows without lines count themselves.
  absl::string_view text;  // As it stands in the source, for the quarantine file.
  bool bad = false;        // Not well-formed: `problem` says why, `fields` mean nothing.
  RowProblem problem;
};

// **Confined to one thread.**
class RowReader {
 public:
  virtual ~RowReader() = default;
  // What the fields are called; the same for every row.
  virtual const std::vector<std::string>& columns() const = 0;
  // The next row; false at the end. A Status (DataError, IoError) means that the rest cannot be
  // read.
  virtual absl::StatusOr<bool> Next(Row* row) = 0;
};

struct FormatInfo {
  std::string name;
  std::string help;  // One line.
  // Whether sources name files. A format that makes its rows up gets one source without a path.
  bool reads_files = true;
  // The columns, as far as the configuration alone says; empty when only the files do. UsageError
  // for wrong settings.
  absl::StatusOr<std::vector<std::string>> (*columns)(const DatasetConfig& config);
  // Opens one file. `config` passed `columns`.
  absl::StatusOr<std::unique_ptr<RowReader>> (*open)(const DatasetConfig& config,
                                                     const std::string& path);
};

// All formats by name; filled before main.
const std::map<std::string, FormatInfo>& Formats();

// UsageError lists the near names.
absl::StatusOr<const FormatInfo*> FindFormat(const std::string& name);

// CHECKs that the name is new.
bool RegisterFormat(FormatInfo info);
#define PAGODA_REGISTER_FORMAT(...) \
  static const bool registered_ [[maybe_unused]] = ::pagoda::RegisterFormat(__VA_ARGS__)

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_FORMAT_H_
