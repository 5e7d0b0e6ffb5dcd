#include "worker/train/report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/labels.h"
#include "worker/data/record.h"

namespace pagoda {
namespace {

JsonObject ObjectOf(const std::vector<MetricValue>& values) {
  JsonObject object;
  for (const MetricValue& one : values) object.Number(one.name, one.value);
  return object;
}

// A metric that the table shows. `decimals` < 0: six significant digits.
struct Column {
  std::string name;
  int decimals;
  bool operator==(const Column& other) const { return name == other.name; }
};

// What a person looks at first, by the task's kind, and what was asked for besides.
std::vector<Column> ColumnsOf(const TaskMetrics& metrics) {
  static const auto* const shown = new std::vector<Column>{
      {"auc", 6},      {"auc_low", 4}, {"auc_high", 4}, {"gauc", 6}, {"logloss", 6},
      {"accuracy", 6}, {"mse", -1},    {"mae", -1},     {"r2", 6},   {"spearman", 6},
  };
  const bool is_binary = IsBinary(metrics.loss);
  std::vector<Column> columns;
  for (const Column& column : *shown) {
    if (!std::isnan(metrics.Value(column.name)) || (is_binary && column.name == "auc")) {
      columns.push_back(column);
    }
  }
  if (is_binary) columns.push_back({"pcoc", 4});
  for (const MetricValue& one : metrics.values) {
    if (absl::StartsWith(one.name, "ndcg@")) columns.push_back({one.name, 6});
  }
  return columns;
}

void AppendCell(const Column& column, double value, std::string* line) {
  if (column.decimals < 0) {
    absl::StrAppendFormat(line, " %10.6g", value);
  } else {
    absl::StrAppendFormat(line, " %10.*f", column.decimals, value);
  }
}

}  // namespace

absl::StatusOr<Split> SplitByName(const std::string& name) {
  for (const Split split : {TRAIN, VALID, TEST}) {
    if (name == SplitName(split)) return split;
  }
  return UsageError(absl::StrCat("--split=", name, ": no such split",
                                 NearestHint(name, {"train", "valid", "test"})));
}

JsonObject EvalLine(Split split, int64_t step, const std::vector<TaskMetrics>& metrics,
                    const std::string& best_by, const std::vector<UnseenValues>& unseen) {
  JsonObject tasks;
  for (const TaskMetrics& one : metrics) {
    JsonObject task = ObjectOf(one.values);
    task.Integer("rows", one.rows);
    if (IsBinary(one.loss)) task.Integer("positives", one.positives);
    if (!one.training_units.empty()) task.Object("training_units", ObjectOf(one.training_units));
    std::vector<JsonObject> buckets;
    for (const CalibrationBucket& bucket : one.buckets) {
      buckets.emplace_back().Integer("rows", bucket.rows);
      buckets.back().Number("predicted", bucket.predicted).Number("observed", bucket.observed);
    }
    if (!buckets.empty()) task.Array("buckets", buckets);
    tasks.Object(one.task, task);
  }
  JsonObject line;
  line.Text("event", "eval").Text("split", SplitName(split)).Integer("step", step);
  line.Number("score", Score(metrics, best_by)).Object("tasks", tasks);
  JsonObject values;
  for (const UnseenValues& one : unseen) values.Integer(one.feature, one.values);
  if (!unseen.empty()) line.Object("unseen", values);
  return line;
}

JsonObject GatesLine(Split split, int64_t step, const std::vector<GateUse>& gates) {
  JsonObject all;
  for (const GateUse& gate : gates) {
    JsonObject experts;
    for (const GateUse::Share& share : gate.experts) experts.Number(share.expert, share.weight);
    all.Object(gate.gate, experts);
  }
  JsonObject line;
  line.Text("event", "gates").Text("split", SplitName(split)).Integer("step", step);
  return line.Object("gates", all);
}

std::vector<std::string> MetricsTable(const std::vector<TaskMetrics>& metrics) {
  size_t width = 4;
  for (const TaskMetrics& one : metrics) width = std::max(width, one.task.size());
  std::vector<std::string> lines;
  std::vector<Column> before;
  for (const TaskMetrics& one : metrics) {
    const std::vector<Column> columns = ColumnsOf(one);
    if (columns != before) {
      std::string& header = lines.emplace_back(absl::StrFormat("  %-*s", width, "task"));
      for (const Column& column : columns) absl::StrAppendFormat(&header, " %10s", column.name);
      absl::StrAppendFormat(&header, " %12s", "rows");
      before = columns;
    }
    std::string& line = lines.emplace_back(absl::StrFormat("  %-*s", width, one.task));
    for (const Column& column : columns) AppendCell(column, one.Value(column.name), &line);
    absl::StrAppendFormat(&line, " %12d", one.rows);
  }
  return lines;
}

std::vector<std::string> GatesTable(const std::vector<GateUse>& gates) {
  std::vector<std::string> lines;
  for (const GateUse& gate : gates) {
    std::vector<GateUse::Share> shares = gate.experts;
    std::stable_sort(shares.begin(), shares.end(),
                     [](const auto& a, const auto& b) { return a.weight > b.weight; });
    std::string& line = lines.emplace_back(absl::StrCat("  ", gate.gate, ":"));
    for (const GateUse::Share& share : shares) {
      absl::StrAppendFormat(&line, " %s %.3f", share.expert, share.weight);
    }
  }
  return lines;
}

std::string UnseenText(Split split, const std::vector<UnseenValues>& unseen) {
  constexpr size_t kShown = 3;
  if (unseen.empty()) return "";
  std::vector<UnseenValues> most = unseen;
  std::stable_sort(most.begin(), most.end(),
                   [](const auto& a, const auto& b) { return a.values > b.values; });
  int64_t sum = 0;
  for (const UnseenValues& one : most) sum += one.values;
  most.resize(std::min(most.size(), kShown));
  return absl::StrCat("  ", SplitName(split), ": ", sum, " values without a row in their table: ",
                      absl::StrJoin(most, ", ",
                                    [](std::string* out, const UnseenValues& one) {
                                      absl::StrAppend(out, one.feature, " ", one.values);
                                    }),
                      most.size() < unseen.size() ? ", ..." : "");
}

std::vector<MetricValue> Scalars(Split split, const std::vector<TaskMetrics>& metrics) {
  std::vector<MetricValue> scalars;
  for (const TaskMetrics& one : metrics) {
    const std::string prefix = absl::StrCat(SplitName(split), "/", one.task, "/");
    for (const MetricValue& v : one.values) scalars.push_back({prefix + v.name, v.value});
    for (const MetricValue& v : one.training_units) {
      scalars.push_back({absl::StrCat(prefix, "training_units/", v.name), v.value});
    }
  }
  return scalars;
}

}  // namespace pagoda
