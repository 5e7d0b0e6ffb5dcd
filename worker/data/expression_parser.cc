// From a text to an Expression: the grammar in its header, parsed.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "common/config.h"
#include "common/errors.h"
#include "worker/data/expression.h"

namespace pagoda {
namespace {

// Deeper nesting is refused: parsing and evaluating recurse.
constexpr int kMaxDepth = 64;
// Longer texts are refused: a chain of "+" makes a tree as deep as it is long.
constexpr size_t kMaxNodes = 1000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c) || c == '.'; }

}  // namespace

// Recursive descent over the grammar of the header; one member function a rule, each returns the
// index of its node.
class ExpressionParser {
 public:
  explicit ExpressionParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<Expression> Parse() {
    ASSIGN_OR_RETURN(out_.root_, ParseOr());
    SkipBlanks();
    if (at_ < text_.size()) return Error("expected an operator (== compares) or the end");
    RETURN_IF_ERROR(CheckNumber(out_.root_));
    out_.text_ = std::string(text_);
    return std::move(out_);
  }

 private:
  using Op = Expression::Op;
  using Node = Expression::Node;
  using Value = Expression::Value;

  absl::Status ErrorAt(size_t at, absl::string_view reason) const {
    return UsageError(absl::StrCat("expression `", text_, "`, column ", at + 1, ": ", reason));
  }
  absl::Status Error(absl::string_view reason) const { return ErrorAt(at_, reason); }

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

  // A text is an operand of comparisons with columns only.
  absl::Status CheckNumber(int node) const {
    if (out_.nodes_[node].op != Op::kText) return absl::OkStatus();
    return ErrorAt(out_.nodes_[node].position,
                   "a text stands only next to a column: `column == \"text\"`");
  }

  absl::StatusOr<int> Add(Node node) {
    for (const int operand : node.operands) RETURN_IF_ERROR(CheckNumber(operand));
    if (out_.nodes_.size() == kMaxNodes) return Error("too long");
    out_.nodes_.push_back(std::move(node));
    return static_cast<int>(out_.nodes_.size()) - 1;
  }
  absl::StatusOr<int> Add(Op op, size_t position, std::vector<int> operands) {
    return Add({op, position, std::move(operands), -1, {}});
  }

  absl::StatusOr<int> ParseOr() {
    ASSIGN_OR_RETURN(int left, ParseAnd());
    while (TakeWord("or")) {
      const size_t position = at_;
      ASSIGN_OR_RETURN(const int right, ParseAnd());
      ASSIGN_OR_RETURN(left, Add(Op::kOr, position, {left, right}));
    }
    return left;
  }

  absl::StatusOr<int> ParseAnd() {
    ASSIGN_OR_RETURN(int left, ParseNot());
    while (TakeWord("and")) {
      const size_t position = at_;
      ASSIGN_OR_RETURN(const int right, ParseNot());
      ASSIGN_OR_RETURN(left, Add(Op::kAnd, position, {left, right}));
    }
    return left;
  }

  // Nesting is counted where the grammar recurses: here and in ParseSign.
  absl::StatusOr<int> ParseNot() {
    if (++depth_ > kMaxDepth) return Error(absl::StrCat("nested deeper than ", kMaxDepth));
    absl::StatusOr<int> node = ParseNegation();
    --depth_;
    return node;
  }

  absl::StatusOr<int> ParseNegation() {
    SkipBlanks();
    const size_t position = at_;
    if (!TakeWord("not")) return ParseComparison();
    ASSIGN_OR_RETURN(const int inner, ParseNot());
    return Add(Op::kNot, position, {inner});
  }

  absl::StatusOr<int> ParseComparison() {
    ASSIGN_OR_RETURN(const int left, ParseSum());
    SkipBlanks();
    const size_t position = at_;
    if (TakeWord("in")) return ParseIn(left, position);
    // The longer of two that begin alike first.
    static constexpr std::pair<const char*, Op> kOperators[] = {
        {"==", Op::kEqual},        {"!=", Op::kNotEqual}, {"<=", Op::kLessEqual},
        {">=", Op::kGreaterEqual}, {"<", Op::kLess},      {">", Op::kGreater}};
    for (const auto& [symbol, op] : kOperators) {
      if (!Take(symbol)) continue;
      ASSIGN_OR_RETURN(const int right, ParseSum());
      return Compare(op, position, left, right);
    }
    return left;
  }

  static Op Flipped(Op op) {
    switch (op) {
      case Op::kLess:
        return Op::kGreater;
      case Op::kLessEqual:
        return Op::kGreaterEqual;
      case Op::kGreater:
        return Op::kLess;
      case Op::kGreaterEqual:
        return Op::kLessEqual;
      default:
        return op;
    }
  }

  absl::StatusOr<int> Compare(Op op, size_t position, int left, int right) {
    if (out_.nodes_[left].op == Op::kText) {
      std::swap(left, right);
      op = Flipped(op);
    }
    if (out_.nodes_[right].op != Op::kText) return Add(op, position, {left, right});
    if (out_.nodes_[left].op != Op::kColumn) return CheckNumber(right);
    return Add({op, position, {}, out_.nodes_[left].column, out_.nodes_[right].values});
  }

  absl::StatusOr<int> ParseIn(int left, size_t position) {
    Node node{Op::kIn, position, {}, out_.nodes_[left].column, {}};
    if (out_.nodes_[left].op != Op::kColumn) node.operands = {left};
    if (!Take("{")) return Error("expected \"{\" after \"in\"");
    do {
      SkipBlanks();
      const size_t begin = at_;
      ASSIGN_OR_RETURN(Value value, ParseValue());
      if (!node.operands.empty() && !value.is_number) {
        return ErrorAt(begin, "only a column is compared with texts");
      }
      node.values.push_back(std::move(value));
    } while (Take(","));
    if (!Take("}")) return Error("expected \",\" or \"}\"");
    return Add(std::move(node));
  }

  absl::StatusOr<int> ParseSum() {
    ASSIGN_OR_RETURN(int left, ParseProduct());
    for (;;) {
      SkipBlanks();
      const size_t position = at_;
      const bool is_plus = Take("+");
      if (!is_plus && !Take("-")) return left;
      ASSIGN_OR_RETURN(const int right, ParseProduct());
      ASSIGN_OR_RETURN(left, Add(is_plus ? Op::kAdd : Op::kSubtract, position, {left, right}));
    }
  }

  absl::StatusOr<int> ParseProduct() {
    ASSIGN_OR_RETURN(int left, ParseSign());
    for (;;) {
      SkipBlanks();
      const size_t position = at_;
      const bool is_times = Take("*");
      if (!is_times && !Take("/")) return left;
      ASSIGN_OR_RETURN(const int right, ParseSign());
      ASSIGN_OR_RETURN(left, Add(is_times ? Op::kMultiply : Op::kDivide, position, {left, right}));
    }
  }

  absl::StatusOr<int> ParseSign() {
    if (++depth_ > kMaxDepth) return Error(absl::StrCat("nested deeper than ", kMaxDepth));
    absl::StatusOr<int> node = ParseOperand();
    --depth_;
    return node;
  }

  absl::StatusOr<int> ParseOperand() {
    SkipBlanks();
    const size_t position = at_;
    if (Take("-")) {
      ASSIGN_OR_RETURN(const int inner, ParseSign());
      return Add(Op::kNegate, position, {inner});
    }
    if (Take("+")) {
      ASSIGN_OR_RETURN(const int inner, ParseSign());
      RETURN_IF_ERROR(CheckNumber(inner));
      return inner;
    }
    if (Take("(")) {
      ASSIGN_OR_RETURN(const int inner, ParseOr());
      if (!Take(")")) return Error("expected \")\"");
      return inner;
    }
    const char next = at_ < text_.size() ? text_[at_] : '\0';
    if (next == '"' || next == '\'' || IsDigit(next) || next == '.') {
      ASSIGN_OR_RETURN(Value value, ParseValue());
      return Add({value.is_number ? Op::kNumber : Op::kText, position, {}, -1, {value}});
    }
    ASSIGN_OR_RETURN(const std::string name, ParseName());
    if (next != '`' && Take("(")) return ParseCall(name, position);
    return AddColumn(name, position);
  }

  // Behind "name(".
  absl::StatusOr<int> ParseCall(const std::string& name, size_t position) {
    struct Function {
      const char* name;
      Op op;
      size_t least, most;  // Arguments.
    };
    static constexpr Function kFunctions[] = {{"log1p", Op::kLog1p, 1, 1},
                                              {"exp", Op::kExp, 1, 1},
                                              {"min", Op::kMin, 2, kMaxNodes},
                                              {"max", Op::kMax, 2, kMaxNodes},
                                              {"if", Op::kIf, 3, 3}};
    const auto* function = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                        [&](const Function& f) { return name == f.name; });
    if (function == std::end(kFunctions)) {
      return ErrorAt(position,
                     absl::StrCat("no function \"", name, "\"",
                                  NearestHint(name, {"log1p", "exp", "min", "max", "if"})));
    }
    std::vector<int> arguments;
    do {
      ASSIGN_OR_RETURN(const int argument, ParseOr());
      arguments.push_back(argument);
    } while (Take(","));
    if (!Take(")")) return Error("expected \",\" or \")\"");
    if (arguments.size() < function->least || arguments.size() > function->most) {
      return ErrorAt(position, absl::StrCat(name, " takes ", function->least,
                                            function->most > function->least ? " or more" : "",
                                            " arguments, not ", arguments.size()));
    }
    return Add(function->op, position, std::move(arguments));
  }

  absl::StatusOr<std::string> ParseName() {
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
    if (!name.empty()) return name;
    return Error("expected a column's name (in `` when it is no plain word), a number or a text");
  }

  absl::StatusOr<int> AddColumn(const std::string& name, size_t position) {
    const auto found = std::find(out_.columns_.begin(), out_.columns_.end(), name);
    const int column = static_cast<int>(found - out_.columns_.begin());
    if (found == out_.columns_.end()) {
      out_.columns_.push_back(name);
      out_.positions_.push_back(position);
    }
    return Add({Op::kColumn, position, {}, column, {}});
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
    value.is_number = true;
    const bool has_plus = at_ < text_.size() && text_[at_] == '+';
    const char* const begin = text_.data() + at_ + (has_plus ? 1 : 0);
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value.number);
    const size_t stop = end - text_.data();
    const bool ends_there = stop == text_.size() || !IsNamePart(text_[stop]);
    if (error != std::errc() || !ends_there || !std::isfinite(value.number)) {
      return Error("expected a number or a text in quotes");
    }
    at_ = stop;
    return value;
  }

  const absl::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  Expression out_;
};

absl::StatusOr<Expression> Expression::Parse(absl::string_view text) {
  return ExpressionParser(text).Parse();
}

absl::StatusOr<Expression> Expression::ParseOrColumn(absl::string_view text,
                                                     const std::vector<std::string>& names) {
  constexpr absl::string_view kOperators = " \t\n=<>!(){}+*/,'\"`";
  const bool is_column =
      names.empty() ? text.find_first_of(kOperators) == absl::string_view::npos
                    : std::find(names.begin(), names.end(), std::string(text)) != names.end();
  if (!is_column || text.empty()) return Parse(text);
  Expression column;
  column.text_ = std::string(text);
  column.columns_ = {column.text_};
  column.positions_ = {0};
  column.nodes_ = {{Op::kColumn, 0, {}, 0, {}}};
  column.root_ = 0;
  return column;
}

}  // namespace pagoda
