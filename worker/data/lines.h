// What text formats share: lines of a stream, checks of their bytes, and rows whose values are
// named.
//
// **Confined to one thread.**
#ifndef PAGODA_WORKER_DATA_LINES_H_
#define PAGODA_WORKER_DATA_LINES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/file.h"
#include "worker/data/format.h"

namespace pagoda {

// A row longer than this is damage, not data.
inline constexpr size_t kMaxRowBytes = size_t{4} << 20;
// Asked of a stream at a time: well over a page, well under the L2 cache.
inline constexpr size_t kReadBytes = size_t{256} << 10;

// Offset of the first byte that is NUL or not UTF-8 (RFC 3629: no overlong forms, no surrogates);
// text.size() when there is none.
size_t FindBadByte(absl::string_view text);

// "NAME[i]" into its parts; false for any other name.
bool SplitPlace(absl::string_view column, absl::string_view* name, int* place);

// Fields of a row by name. A name that comes again makes a list: its values stand in one field,
// kListSeparator between them. A column `NAME[i]` has the i-th value of NAME, from 0.
class NamedFields {
 public:
  explicit NamedFields(const std::vector<std::string>& columns);

  void Clear();
  // A value of `name`; of a name that no column asks for, nothing happens.
  void Append(absl::string_view name, absl::string_view value);
  // Whether a column asks for `name`.
  bool IsWanted(absl::string_view name) const { return names_.contains(name); }
  // Whether the current row has a value of `name`; false when no column asks for it.
  bool Has(absl::string_view name) const;
  // Views into this, valid until Clear().
  void Put(std::vector<absl::string_view>* fields) const;

 private:
  struct Name {
    int column = -1;          // Of the whole list; -1: not asked for.
    std::vector<int> places;  // [i] the column of value i; -1: not asked for.
    size_t count = 0;         // Values in this row.
  };
  absl::flat_hash_map<std::string, Name> names_;
  std::vector<std::string> values_;  // [column]
};

// Rows that are lines: skips empty ones, and makes rows bad that are too long, hold NUL or are not
// UTF-8. CR LF and a byte-order mark at the start are taken away.
class LineReader : public RowReader {
 public:
  LineReader(std::vector<std::string> columns, std::unique_ptr<ByteReader> bytes)
      : columns_(std::move(columns)), bytes_(std::move(bytes)), buffer_(kReadBytes) {}

  const std::vector<std::string>& columns() const override { return columns_; }
  absl::StatusOr<bool> Next(Row* row) final;

 protected:
  // Cuts row->text into row->fields, or calls Fail.
  virtual void Parse(Row* row) = 0;
  // `at`: the first byte, in row->text, of what is wrong.
  static void Fail(Row* row, size_t at, std::string reason);

 private:
  // The next line into *line without its end, *is_cut when it was too long; false at the end.
  absl::StatusOr<bool> ReadLine(absl::string_view* line, bool* is_cut);
  absl::Status ReadMore();

  const std::vector<std::string> columns_;
  const std::unique_ptr<ByteReader> bytes_;
  std::vector<char> buffer_;
  size_t at_ = 0, end_ = 0;  // Unread bytes are buffer_[at_, end_).
  bool at_end_of_stream_ = false;
  bool has_started_ = false;
  int64_t line_ = 0;     // Of the line that was read last, from 1.
  std::string skipped_;  // The start of a line that was too long.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_LINES_H_
