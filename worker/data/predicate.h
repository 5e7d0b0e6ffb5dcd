// Predicates on the columns of a row: labels, sample spaces, filters.
//
//   predicate  = conjunction { "or" conjunction }
//   conjunction = factor { "and" factor }
//   factor     = "not" factor | "(" predicate ")" | comparison
//   comparison = column ("==" | "!=" | "<" | "<=" | ">" | ">=") value
//              | column "in" "{" value { "," value } "}"
//   column     = a letter or "_", then letters, digits, "_", "." | "`" any text "`"
//   value      = number | "'" text "'" | '"' text '"'        ("\" takes the next byte as it is)
//
// Against a text the field's bytes are compared, against a number its value, as doubles; a field
// that is not a number then makes its row bad. A missing value (an empty field) equals "" and
// satisfies no comparison with a number but "!=". "and" and "or" leave out what no longer matters,
// so that `click == 1 and seconds > 10` does not look at the seconds of rows without a click.
//
// Thread-safe (const after Bind).
#ifndef PAGODA_WORKER_DATA_PREDICATE_H_
#define PAGODA_WORKER_DATA_PREDICATE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace pagoda {

// Why a row is bad.
struct RowProblem {
  int field = -1;  // Index of the field; -1: the row as a whole.
  std::string reason;
};

class Predicate {
 public:
  // UsageError with the position, counted in bytes from 1: "column 12: ...".
  static absl::StatusOr<Predicate> Parse(absl::string_view text);

  // The columns read, each once, in order of appearance.
  const std::vector<std::string>& columns() const { return columns_; }

  // Finds the columns among `names`, whose order is that of a row's fields. UsageError lists near
  // names.
  absl::Status Bind(const std::vector<std::string>& names);

  // True with *value set, or false with *problem filled in. REQUIRES: Bind() succeeded.
  bool Evaluate(absl::Span<const absl::string_view> fields, bool* value, RowProblem* problem) const;

 private:
  friend class PredicateParser;
  enum class Op {
    kOr,
    kAnd,
    kNot,
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kIn
  };
  struct Value {
    bool is_number = false;
    double number = 0;
    std::string text;
  };
  struct Node {
    Op op;
    int left = -1, right = -1;  // Or, and, not: indices in nodes_.
    int column = -1;            // Comparisons: index in columns_.
    std::vector<Value> values;  // Comparisons: one, kIn: any number.
  };

  bool EvaluateNode(const Node& node, absl::Span<const absl::string_view> fields, bool* value,
                    RowProblem* problem) const;
  bool Compare(const Node& node, absl::Span<const absl::string_view> fields, bool* value,
               RowProblem* problem) const;

  std::vector<std::string> columns_;
  std::vector<int> fields_;  // [columns_.size()] index of the field; empty before Bind.
  std::vector<Node> nodes_;
  int root_ = -1;
};

// A decimal number, the whole of `text`; false for anything else, "nan" and "inf" included.
bool ParseNumber(absl::string_view text, double* number);

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_PREDICATE_H_
