#include "worker/data/predicate.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/config.h"
#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

// Deeper nesting is refused: parsing and evaluating recurse.
constexpr int kMaxDepth = 64;

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || (c >= '0' && c <= '9') || c == '.'; }

}  // namespace

bool ParseNumber(absl::string_view text, double* number) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  // std::from_chars knows no "+".
  if (text.size() > 1 && *begin == '+' && begin[1] != '-') ++begin;
  const auto [rest, error] = std::from_chars(begin, end, *number);
  return error == std::errc() && rest == end && begin != end && std::isfinite(*number);
}

// Recursive descent over the grammar of the header; one member function a rule, each returns the
// index of its node.
class PredicateParser {
 public:
  explicit PredicateParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<Predicate> Parse() {
    ASSIGN_OR_RETURN(out_.root_, ParseOr());
    SkipBlanks();
    if (at_ < text_.size()) return Error("expected the end, \"and\" or \"or\"");
    return std::move(out_);
  }

 private:
  using Op = Predicate::Op;
  using Node = Predicate::Node;
  using Value = Predicate::Value;

  absl::Status Error(absl::string_view reason) const {
    return UsageError(absl::StrCat("predicate `", text_, "`, column ", at_ + 1, ": ", reason));
  }

  void SkipBlanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) {
      ++at_;
    }
  }

  bool Take(absl::string_view symbol) {
    SkipBlanks();
    if (text_.substr(at_, symbol.size()) != symbol) return false;
    at_ += symbol.size();
    return true;
  }

  bool TakeWord(absl::string_view word) {
    SkipBlanks();
    const size_t end = at_ + word.size();
    if (text_.substr(at_, word.size()) != word) return false;
    if (end < text_.size() && IsNamePart(text_[end])) return false;
    at_ = end;
    return true;
  }

  int Add(Node node) {
    out_.nodes_.push_back(std::move(node));
    return static_cast<int>(out_.nodes_.size()) - 1;
  }

  absl::StatusOr<int> ParseOr() {
    ASSIGN_OR_RETURN(int left, ParseAnd());
    while (TakeWord("or")) {
      ASSIGN_OR_RETURN(const int right, ParseAnd());
      left = Add({Op::kOr, left, right, -1, {}});
    }
    return left;
  }

  absl::StatusOr<int> ParseAnd() {
    ASSIGN_OR_RETURN(int left, ParseFactor());
    while (TakeWord("and")) {
      ASSIGN_OR_RETURN(const int right, ParseFactor());
      left = Add({Op::kAnd, left, right, -1, {}});
    }
    return left;
  }

  absl::StatusOr<int> ParseFactor() {
    if (++depth_ > kMaxDepth) return Error(absl::StrCat("nested deeper than ", kMaxDepth));
    absl::StatusOr<int> node = ParseNested();
    --depth_;
    return node;
  }

  absl::StatusOr<int> ParseNested() {
    if (TakeWord("not")) {
      ASSIGN_OR_RETURN(const int inner, ParseFactor());
      return Add({Op::kNot, inner, -1, -1, {}});
    }
    if (Take("(")) {
      ASSIGN_OR_RETURN(const int inner, ParseOr());
      if (!Take(")")) return Error("expected \")\"");
      return inner;
    }
    return ParseComparison();
  }

  absl::StatusOr<int> ParseComparison() {
    Node node;
    ASSIGN_OR_RETURN(node.column, ParseColumn());
    if (TakeWord("in")) {
      node.op = Op::kIn;
      if (!Take("{")) return Error("expected \"{\" after \"in\"");
      do {
        ASSIGN_OR_RETURN(Value value, ParseValue());
        node.values.push_back(std::move(value));
      } while (Take(","));
      if (!Take("}")) return Error("expected \",\" or \"}\"");
      return Add(std::move(node));
    }
    if (Take("==")) {
      node.op = Op::kEqual;
    } else if (Take("!=")) {
      node.op = Op::kNotEqual;
    } else if (Take("<=")) {
      node.op = Op::kLessEqual;
    } else if (Take(">=")) {
      node.op = Op::kGreaterEqual;
    } else if (Take("<")) {
      node.op = Op::kLess;
    } else if (Take(">")) {
      node.op = Op::kGreater;
    } else {
      return Error("expected ==, !=, <, <=, >, >= or in");
    }
    ASSIGN_OR_RETURN(Value value, ParseValue());
    node.values.push_back(std::move(value));
    return Add(std::move(node));
  }

  // Index of the column in out_.columns_.
  absl::StatusOr<int> ParseColumn() {
    SkipBlanks();
    std::string name;
    if (Take("`")) {
      const size_t end = text_.find('`', at_);
      if (end == absl::string_view::npos) return Error("no closing \"`\"");
      name = std::string(text_.substr(at_, end - at_));
      at_ = end + 1;
    } else {
      const size_t begin = at_;
      while (at_ < text_.size() &&
             (at_ == begin ? IsNameStart(text_[at_]) : IsNamePart(text_[at_]))) {
        ++at_;
      }
      name = std::string(text_.substr(begin, at_ - begin));
    }
    if (name.empty()) return Error("expected a column's name (in `` when it is no plain word)");
    const auto found = std::find(out_.columns_.begin(), out_.columns_.end(), name);
    if (found != out_.columns_.end()) return static_cast<int>(found - out_.columns_.begin());
    out_.columns_.push_back(std::move(name));
    return static_cast<int>(out_.columns_.size()) - 1;
  }

  absl::StatusOr<Value> ParseValue() {
    SkipBlanks();
    Value value;
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
      const char quote = text_[at_++];
      while (at_ < text_.size() && text_[at_] != quote) {
        if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
        value.text.push_back(text_[at_++]);
      }
      if (at_ == text_.size()) return Error("no closing quote");
      ++at_;
      return value;
    }
    const size_t begin = at_;
    while (at_ < text_.size() &&
           (IsNamePart(text_[at_]) || text_[at_] == '-' || text_[at_] == '+')) {
      ++at_;
    }
    value.is_number = true;
    if (!ParseNumber(text_.substr(begin, at_ - begin), &value.number)) {
      at_ = begin;
      return Error("expected a number or a text in quotes");
    }
    return value;
  }

  const absl::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  Predicate out_;
};

absl::StatusOr<Predicate> Predicate::Parse(absl::string_view text) {
  return PredicateParser(text).Parse();
}

absl::Status Predicate::Bind(const std::vector<std::string>& names) {
  std::vector<int> fields;
  for (const std::string& column : columns_) {
    const auto found = std::find(names.begin(), names.end(), column);
    if (found == names.end()) {
      return UsageError(absl::StrCat("no column \"", column, "\"", NearestHint(column, names)));
    }
    fields.push_back(static_cast<int>(found - names.begin()));
  }
  fields_ = std::move(fields);
  return absl::OkStatus();
}

bool Predicate::Evaluate(absl::Span<const absl::string_view> fields, bool* value,
                         RowProblem* problem) const {
  DCHECK_EQ(fields_.size(), columns_.size()) << "Bind() first";
  return EvaluateNode(nodes_[root_], fields, value, problem);
}

bool Predicate::EvaluateNode(const Node& node, absl::Span<const absl::string_view> fields,
                             bool* value, RowProblem* problem) const {
  switch (node.op) {
    case Op::kOr:
    case Op::kAnd:
      if (!EvaluateNode(nodes_[node.left], fields, value, problem)) return false;
      if (*value == (node.op == Op::kOr)) return true;
      return EvaluateNode(nodes_[node.right], fields, value, problem);
    case Op::kNot:
      if (!EvaluateNode(nodes_[node.left], fields, value, problem)) return false;
      *value = !*value;
      return true;
    default:
      return Compare(node, fields, value, problem);
  }
}

bool Predicate::Compare(const Node& node, absl::Span<const absl::string_view> fields, bool* value,
                        RowProblem* problem) const {
  const int field = fields_[node.column];
  const absl::string_view text = fields[field];
  *value = node.op == Op::kNotEqual;  // What a missing value gives.
  for (const Value& operand : node.values) {
    int order;  // Sign of field - operand.
    if (operand.is_number) {
      if (text.empty()) continue;
      double number;
      if (!ParseNumber(text, &number)) {
        *problem = {field, absl::StrCat("\"", text.substr(0, 40), "\" is not a number")};
        return false;
      }
      order = number < operand.number ? -1 : number > operand.number ? 1 : 0;
    } else {
      order = text.compare(operand.text);
    }
    switch (node.op) {
      case Op::kIn:
      case Op::kEqual:
        *value = order == 0;
        break;
      case Op::kNotEqual:
        *value = order != 0;
        break;
      case Op::kLess:
        *value = order < 0;
        break;
      case Op::kLessEqual:
        *value = order <= 0;
        break;
      case Op::kGreater:
        *value = order > 0;
        break;
      case Op::kGreaterEqual:
        *value = order >= 0;
        break;
      default:
        LOG(FATAL) << "not a comparison";
    }
    if (node.op == Op::kIn && *value) return true;
  }
  return true;
}

}  // namespace pagoda
