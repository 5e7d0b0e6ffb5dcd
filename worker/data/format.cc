#include "worker/data/format.h"

#include <algorithm>
#include <utility>

#include "common/config.h"
#include "common/errors.h"
#include "glog/logging.h"
#include "worker/data/record.h"

namespace pagoda {
namespace {

std::map<std::string, FormatInfo>& Registry() {
  static auto* const formats = new std::map<std::string, FormatInfo>;
  return *formats;
}

}  // namespace

const std::map<std::string, FormatInfo>& Formats() { return Registry(); }

absl::StatusOr<const FormatInfo*> FindFormat(const std::string& name) {
  const auto found = Registry().find(name);
  if (found != Registry().end()) return &found->second;
  std::vector<std::string> known;
  for (const auto& [format, info] : Registry()) known.push_back(format);
  return UsageError(
      absl::StrCat("dataset.format: no format \"", name, "\"", NearestHint(name, known)));
}

absl::StatusOr<std::vector<std::string>> ColumnsOfExpression(
    const std::string& text, const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const Expression expression, Expression::ParseOrColumn(text, names));
  return expression.columns();
}

absl::StatusOr<std::vector<std::string>> ColumnsRead(const DatasetConfig& config) {
  std::vector<std::string> columns(config.column().begin(), config.column().end());
  if (!columns.empty()) return columns;
  const auto add = [&](const std::string& column) {
    if (std::find(columns.begin(), columns.end(), column) == columns.end()) {
      columns.push_back(column);
    }
  };
  const auto add_expression = [&](const std::string& text) -> absl::Status {
    if (text.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::vector<std::string> read, ColumnsOfExpression(text, {}));
    for (const std::string& column : read) add(column);
    return absl::OkStatus();
  };
  for (const FeatureConfig& feature : config.feature()) {
    if (!feature.has_cross()) add(ColumnOf(feature));
    if (!feature.weights_column().empty()) add(feature.weights_column());
  }
  for (const TaskConfig& task : config.task()) {
    for (const std::string* text : {&task.label(), &task.sample_space(), &task.sample_weight()}) {
      RETURN_IF_ERROR(
          WithContext(add_expression(*text), absl::StrCat("task \"", task.name(), "\"")));
    }
  }
  for (const std::string& filter : config.filter()) {
    RETURN_IF_ERROR(WithContext(add_expression(filter), "dataset.filter"));
  }
  if (!config.split().column().empty()) add(config.split().column());
  return columns;
}

bool RegisterFormat(FormatInfo info) {
  const std::string name = info.name;
  CHECK(Registry().emplace(name, std::move(info)).second) << "two formats are called " << name;
  return true;
}

}  // namespace pagoda
