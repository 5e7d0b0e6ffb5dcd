// What an expression says of a row. How it is read: expression_parser.cc.
#include "worker/data/expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "common/config.h"
#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

}  // namespace

bool ParseNumber(absl::string_view text, double* number) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  // std::from_chars knows no "+".
  if (text.size() > 1 && *begin == '+' && begin[1] != '-') ++begin;
  const auto [rest, error] = std::from_chars(begin, end, *number);
  return error == std::errc() && rest == end && begin != end && std::isfinite(*number);
}

absl::Status Expression::Bind(const std::vector<std::string>& names) {
  std::vector<int> fields;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const auto found = std::find(names.begin(), names.end(), columns_[i]);
    if (found == names.end()) {
      return UsageError(absl::StrCat("expression `", text_, "`, column ", positions_[i] + 1,
                                     ": no column \"", columns_[i], "\"",
                                     NearestHint(columns_[i], names), " (texts stand in quotes)"));
    }
    fields.push_back(static_cast<int>(found - names.begin()));
  }
  fields_ = std::move(fields);
  return absl::OkStatus();
}

bool Expression::Evaluate(absl::Span<const absl::string_view> fields, double* value,
                          RowProblem* problem) const {
  DCHECK_EQ(fields_.size(), columns_.size()) << "Bind() first";
  problem->reason.clear();
  *value = Number(nodes_[root_], fields, problem);
  return problem->reason.empty();
}

bool Expression::Test(absl::Span<const absl::string_view> fields, bool* holds,
                      RowProblem* problem) const {
  DCHECK_EQ(fields_.size(), columns_.size()) << "Bind() first";
  problem->reason.clear();
  *holds = Holds(root_, fields, problem);
  return problem->reason.empty();
}

bool Expression::Holds(int node, absl::Span<const absl::string_view> fields,
                       RowProblem* problem) const {
  const double value = Number(nodes_[node], fields, problem);
  return value != 0 && !std::isnan(value);
}

double Expression::Field(int column, absl::Span<const absl::string_view> fields,
                         RowProblem* problem) const {
  const int field = fields_[column];
  const absl::string_view text = fields[field];
  double number;
  if (text.empty()) return kMissing;
  if (ParseNumber(text, &number)) return number;
  // The first problem is told: what comes of its value is none.
  if (problem->reason.empty()) {
    *problem = {field, absl::StrCat("\"", text.substr(0, 40), "\" is not a finite number")};
  }
  return kMissing;
}

bool Expression::IsAmong(const Node& node, absl::Span<const absl::string_view> fields,
                         RowProblem* problem) const {
  const bool is_column = node.operands.empty();
  double number = is_column ? 0 : Number(nodes_[node.operands[0]], fields, problem);
  bool is_read = !is_column;
  for (const Value& value : node.values) {
    if (!value.is_number) {
      if (fields[fields_[node.column]] == value.text) return true;
      continue;
    }
    if (!is_read) number = Field(node.column, fields, problem);
    is_read = true;
    if (number == value.number) return true;
  }
  return false;
}

double Expression::Number(const Node& node, absl::Span<const absl::string_view> fields,
                          RowProblem* problem) const {
  const auto operand = [&](int i) { return Number(nodes_[node.operands[i]], fields, problem); };
  switch (node.op) {
    case Op::kOr:
      return Holds(node.operands[0], fields, problem) || Holds(node.operands[1], fields, problem);
    case Op::kAnd:
      return Holds(node.operands[0], fields, problem) && Holds(node.operands[1], fields, problem);
    case Op::kNot:
      return !Holds(node.operands[0], fields, problem);
    case Op::kIn:
      return IsAmong(node, fields, problem);
    case Op::kAdd:
      return operand(0) + operand(1);
    case Op::kSubtract:
      return operand(0) - operand(1);
    case Op::kMultiply:
      return operand(0) * operand(1);
    case Op::kDivide:
      return operand(0) / operand(1);
    case Op::kNegate:
      return -operand(0);
    case Op::kLog1p:
      return std::log1p(operand(0));
    case Op::kExp:
      return std::exp(operand(0));
    case Op::kMin:
    case Op::kMax: {
      double best = operand(0);
      for (size_t i = 1; i < node.operands.size(); ++i) {
        const double other = operand(static_cast<int>(i));
        const bool is_better = node.op == Op::kMin ? other < best : other > best;
        if (is_better || std::isnan(other)) best = other;
        if (std::isnan(best)) return best;
      }
      return best;
    }
    case Op::kIf:
      return operand(Holds(node.operands[0], fields, problem) ? 1 : 2);
    case Op::kColumn:
      return Field(node.column, fields, problem);
    case Op::kNumber:
      return node.values[0].number;
    case Op::kText:
      LOG(FATAL) << "a text has no number";
    default:
      break;
  }
  return Compare(node, fields, problem);
}

bool Expression::Compare(const Node& node, absl::Span<const absl::string_view> fields,
                         RowProblem* problem) const {
  const auto holds = [&](const auto& left, const auto& right) {
    switch (node.op) {
      case Op::kEqual:
        return left == right;
      case Op::kNotEqual:
        return left != right;
      case Op::kLess:
        return left < right;
      case Op::kLessEqual:
        return left <= right;
      case Op::kGreater:
        return left > right;
      case Op::kGreaterEqual:
        return left >= right;
      default:
        LOG(FATAL) << "not a comparison";
    }
  };
  if (node.operands.empty()) {
    return holds(fields[fields_[node.column]], absl::string_view(node.values[0].text));
  }
  return holds(Number(nodes_[node.operands[0]], fields, problem),
               Number(nodes_[node.operands[1]], fields, problem));
}

}  // namespace pagoda
