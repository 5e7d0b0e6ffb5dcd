#include "worker/data/columns.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/data/expression.h"
#include "worker/data/format.h"
#include "worker/data/record.h"

namespace pagoda {
namespace {

// KEY of `KEY[i]`, which is a value of the list KEY; any other column is itself.
std::string ListOf(const std::string& column) {
  return absl::EndsWith(column, "]") ? column.substr(0, column.rfind('[')) : column;
}

std::vector<std::string> ColumnsOf(const FeatureConfig& feature) {
  std::vector<std::string> columns;
  if (!feature.has_cross()) columns.push_back(ColumnOf(feature));
  if (feature.has_weights_column()) columns.push_back(feature.weights_column());
  return columns;
}

}  // namespace

absl::Status Columns::Check(const std::string& column) const {
  if (names.empty() || std::find(names.begin(), names.end(), column) != names.end()) {
    return absl::OkStatus();
  }
  return UsageError(absl::StrCat("no column \"", column, "\"", NearestHint(column, names)));
}

absl::StatusOr<std::vector<std::string>> Columns::CheckExpression(const std::string& text) const {
  ASSIGN_OR_RETURN(Expression expression, Expression::ParseOrColumn(text, names));
  if (!names.empty()) RETURN_IF_ERROR(expression.Bind(names));
  if (!expression.columns().empty()) return expression.columns();
  return UsageError(absl::StrCat("expression `", text, "` reads no column"));
}

absl::Status CheckLeaks(const DatasetConfig& config, const Columns& columns,
                        const std::vector<bool>& tasks) {
  ASSIGN_OR_RETURN(const FormatInfo* format, FindFormat(config.format()));
  const auto key_of = [&](const std::string& column) {
    return format->names_values ? ListOf(column) : column;
  };
  std::map<std::string, const TaskConfig*> label_of;
  for (int t = 0; t < config.task_size(); ++t) {
    if (!tasks[t]) continue;
    const TaskConfig& task = config.task(t);
    const auto read = columns.CheckExpression(task.label());
    if (!read.ok()) {
      return WithContext(read.status(), absl::StrCat("task \"", task.name(), "\": label"));
    }
    for (const std::string& column : *read) label_of.emplace(key_of(column), &task);
  }
  for (const FeatureConfig& feature : config.feature()) {
    for (const std::string& column : ColumnsOf(feature)) {
      const auto leak = label_of.find(key_of(column));
      if (leak == label_of.end()) continue;
      return UsageError(absl::StrCat("feature \"", feature.name(), "\": column \"", column,
                                     "\" is the label of task \"", leak->second->name(), "\" (`",
                                     leak->second->label(), "`); a feature must not read it"));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagoda
