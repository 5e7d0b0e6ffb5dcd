#include "worker/data/columns.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/data/expression.h"
#include "worker/data/format.h"
#include "worker/data/lines.h"
#include "worker/data/record.h"

namespace pagoda {
namespace {

constexpr int kAll = -1;

// What a column has of a list of values: `KEY[i]` the value i of KEY where rows name their values,
// any other all of its own.
struct Part {
  std::string list;
  int place = kAll;

  bool Overlaps(const Part& other) const {
    return list == other.list && (place == other.place || place == kAll || other.place == kAll);
  }
};

Part PartOf(const std::string& column, bool names_values) {
  absl::string_view list;
  int place;
  if (!names_values || !SplitPlace(column, &list, &place)) return {column};
  return {std::string(list), place};
}

std::vector<std::string> ColumnsOf(const FeatureConfig& feature) {
  std::vector<std::string> columns;
  if (!feature.has_cross()) columns.push_back(ColumnOf(feature));
  if (!feature.weights_column().empty()) columns.push_back(feature.weights_column());
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

void LeaveLabelsOut(DatasetConfig* config) {
  for (TaskConfig& task : *config->mutable_task()) {
    task.clear_label();
    task.clear_sample_space();
    task.clear_sample_weight();
  }
  const bool all_say =
      std::all_of(config->source().begin(), config->source().end(),
                  [](const SourceConfig& source) { return source.split() != SPLIT_UNSET; });
  if (all_say) config->clear_split();
}

absl::Status CheckLeaks(const DatasetConfig& config, const Columns& columns,
                        const std::vector<bool>& tasks) {
  ASSIGN_OR_RETURN(const FormatInfo* format, FindFormat(config.format()));
  std::vector<std::pair<Part, const TaskConfig*>> labels;
  for (int t = 0; t < config.task_size(); ++t) {
    const TaskConfig& task = config.task(t);
    if (!tasks[t] || task.label().empty()) continue;
    const auto read = columns.CheckExpression(task.label());
    if (!read.ok()) {
      return WithContext(read.status(), absl::StrCat("task \"", task.name(), "\": label"));
    }
    for (const std::string& column : *read) {
      labels.emplace_back(PartOf(column, format->names_values), &task);
    }
  }
  for (const FeatureConfig& feature : config.feature()) {
    for (const std::string& column : ColumnsOf(feature)) {
      const Part part = PartOf(column, format->names_values);
      const auto leak = std::find_if(labels.begin(), labels.end(),
                                     [&](const auto& label) { return label.first.Overlaps(part); });
      if (leak == labels.end()) continue;
      return UsageError(absl::StrCat("feature \"", feature.name(), "\": column \"", column,
                                     "\" is the label of task \"", leak->second->name(), "\" (`",
                                     leak->second->label(), "`); a feature must not read it"));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagoda
