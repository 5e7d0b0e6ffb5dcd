// From predictions to metrics: which ones a task has, by its loss (evaluator.h).
#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/labels.h"
#include "common/metrics/metrics.h"
#include "common/metrics/ranking.h"
#include "worker/graph/losses.h"
#include "worker/train/evaluator.h"
#include "worker/train/task_rules.h"

namespace pagoda {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

int FindHead(const std::vector<Graph::HeadSpec>& heads, const std::string& name) {
  for (size_t h = 0; h < heads.size(); ++h) {
    if (heads[h].name == name) return static_cast<int>(h);
  }
  return -1;
}

// One task's columns, predictions in label units.
struct Columns {
  const TaskConfig& task;
  const TrainConfig& train;
  const std::vector<float>& predictions;
  const std::vector<float>& labels;
  const std::vector<float>& weights;
  const Groups* groups;  // Null: none.
};

bool HasBinaryLabels(const Columns& c) {
  for (size_t i = 0; i < c.labels.size(); ++i) {
    if (c.weights[i] != 0 && c.labels[i] != 0 && c.labels[i] != 1) return false;
  }
  return true;
}

void AddGroupMetrics(const Columns& c, bool is_binary, TaskMetrics* metrics) {
  if (c.groups == nullptr) return;
  if (is_binary) {
    const GroupMetric gauc = GroupAuc(*c.groups, c.predictions, c.labels, c.weights);
    metrics->values.push_back({"gauc", gauc.value});
    metrics->values.push_back({"gauc_groups", static_cast<double>(gauc.groups)});
  }
  for (const int k : c.train.ndcg_at()) {
    const GroupMetric ndcg = Ndcg(*c.groups, c.predictions, c.labels, c.weights, k);
    metrics->values.push_back({absl::StrCat("ndcg@", k), ndcg.value});
  }
}

void AddBinary(const Columns& c, TaskMetrics* metrics) {
  const BinaryMetrics m = ComputeBinary(c.predictions, c.labels, c.weights);
  metrics->rows = m.rows;
  metrics->positives = m.positives;
  metrics->score = m.auc;
  // Of a pairwise loss only the order means something.
  const bool is_probability = IsBinary(c.task.loss());
  metrics->values.push_back({"auc", m.auc});
  if (is_probability) {
    metrics->values.push_back({"logloss", m.logloss});
    metrics->values.push_back({"pcoc", m.pcoc});
    metrics->values.push_back({"normalized_entropy", m.normalized_entropy});
  }
  metrics->values.push_back({"pr_auc", m.pr_auc});
  if (c.train.auc_interval()) {
    const Interval interval = AucInterval(c.predictions, c.labels, c.weights);
    metrics->values.push_back({"auc_low", interval.low});
    metrics->values.push_back({"auc_high", interval.high});
  }
  AddGroupMetrics(c, /*is_binary=*/true, metrics);
  if (!is_probability) return;
  metrics->buckets =
      CalibrationBuckets(c.predictions, c.labels, c.weights, c.train.calibration_buckets());
}

std::vector<MetricValue> ValuesOf(const NumberMetrics& m) {
  return {{"mse", m.mse}, {"mae", m.mae}, {"rmse", m.rmse}, {"r2", m.r2}};
}

void AddNumber(const Columns& c, const std::vector<float>& network, TaskMetrics* metrics) {
  const NumberMetrics m = ComputeNumber(c.predictions, c.labels, c.weights);
  metrics->rows = m.rows;
  metrics->values = ValuesOf(m);
  metrics->values.push_back({"spearman", m.spearman});
  metrics->values.push_back({"pcoc", m.pcoc});
  metrics->score = m.r2;
  metrics->buckets =
      CalibrationBuckets(c.predictions, c.labels, c.weights, c.train.calibration_buckets());
  AddGroupMetrics(c, /*is_binary=*/false, metrics);
  if (!HasTrainingUnits(c.task)) return;
  std::vector<float> predictions(network.size(), 0.0f), labels(network.size(), 0.0f);
  for (size_t i = 0; i < network.size(); ++i) {
    if (c.weights[i] == 0) continue;
    predictions[i] = TrainingPrediction(c.task, network[i]);
    labels[i] = TrainingLabel(c.task, c.labels[i]);
  }
  const NumberMetrics own = ComputeNumber(predictions, labels, c.weights);
  metrics->training_units = ValuesOf(own);
  metrics->score = own.r2;
}

void AddPairwise(const Columns& c, TaskMetrics* metrics) {
  if (HasBinaryLabels(c)) return AddBinary(c, metrics);
  const NumberMetrics m = ComputeNumber(c.predictions, c.labels, c.weights);
  metrics->rows = m.rows;
  metrics->values.push_back({"spearman", m.spearman});
  metrics->score = m.spearman;
  AddGroupMetrics(c, /*is_binary=*/false, metrics);
}

void AddClasses(const Columns& c, const SplitPredictions& split,
                const std::vector<Graph::HeadSpec>& heads, TaskMetrics* metrics) {
  std::vector<float> own(c.labels.size(), 1.0f);  // Probability of each row's own class.
  for (int k = 0; k < c.task.classes(); ++k) {
    const int head = FindHead(heads, ClassOutputName(c.task.name(), k));
    CHECK_GE(head, 0) << "no output for class " << k << " of task " << c.task.name();
    for (size_t i = 0; i < own.size(); ++i) {
      if (c.labels[i] == static_cast<float>(k)) own[i] = split.predictions[head][i];
    }
  }
  const ClassMetrics m = ComputeClasses(c.predictions, own, c.labels, c.weights);
  metrics->rows = m.rows;
  metrics->values = {{"accuracy", m.accuracy},
                     {"logloss", m.logloss},
                     {"normalized_entropy", m.normalized_entropy}};
  metrics->score = 1 - m.normalized_entropy;
}

bool Counts(const TaskMetrics& task, const std::string& best_by) {
  return best_by == "SUM" || best_by == task.task;
}

const TaskConfig* FindTask(const Config& config, const std::string& name) {
  for (const TaskConfig& task : config.dataset().task()) {
    if (task.name() == name) return &task;
  }
  return nullptr;
}

// The head of probability s(logit) that is a task of its own, or -1.
int FindFactor(const Config& config, const std::vector<Graph::HeadSpec>& heads, Value logit) {
  for (size_t h = 0; h < heads.size(); ++h) {
    const bool is_factor = heads[h].kind == HeadKind::kProbability && heads[h].x.node == logit.node;
    if (is_factor && FindTask(config, heads[h].name) != nullptr) return static_cast<int>(h);
  }
  return -1;
}

// Calibrated p(y z) and p(z) have p(y | z) as their ratio. Where p(z) is 0, nothing is known.
void ConvertRatios(const Config& config, const std::vector<Graph::HeadSpec>& heads,
                   SplitPredictions* split) {
  for (size_t product = 0; product < heads.size(); ++product) {
    if (heads[product].kind != HeadKind::kProduct) continue;
    const int factor = FindFactor(config, heads, heads[product].x);
    const TaskConfig* const whole = FindTask(config, heads[product].name);
    if (factor < 0 || whole == nullptr) continue;
    const TaskConfig* const part = FindTask(config, heads[factor].name);
    if (!whole->calibrate() && !part->calibrate()) continue;
    for (size_t h = 0; h < heads.size(); ++h) {
      if (heads[h].has_loss || heads[h].kind != HeadKind::kProbability ||
          heads[h].x.node != heads[product].y.node) {
        continue;
      }
      for (size_t i = 0; i < split->predictions[h].size(); ++i) {
        const float p = split->predictions[factor][i];
        if (p > 0) {
          split->predictions[h][i] = std::min(1.0f, split->predictions[product][i] / p);
        }
      }
    }
  }
}

}  // namespace

double TaskMetrics::Value(absl::string_view name) const {
  for (const MetricValue& one : values) {
    if (one.name == name) return one.value;
  }
  return kNaN;
}

void ConvertPredictions(const Config& config, const std::vector<Graph::HeadSpec>& heads,
                        const TrainState& state, SplitPredictions* split) {
  for (const TaskConfig& task : config.dataset().task()) {
    const int head = FindHead(heads, task.name());
    if (head < 0) continue;
    ToLabelUnits(task, SmearingOf(state, task), absl::MakeSpan(split->predictions[head]));
  }
  ConvertRatios(config, heads, split);
}

std::vector<TaskMetrics> ComputeMetrics(const SplitPredictions& split, const Config& config,
                                        const std::vector<Graph::HeadSpec>& heads,
                                        const TrainState& state) {
  std::optional<Groups> groups;
  if (!split.groups.empty()) groups.emplace(split.groups);
  std::vector<TaskMetrics> all;
  for (int t = 0; t < config.dataset().task_size(); ++t) {
    const TaskConfig& task = config.dataset().task(t);
    const int head = FindHead(heads, task.name());
    CHECK(head >= 0 && heads[head].has_loss) << "no head for task " << task.name();
    std::vector<float> predictions = split.predictions[head];
    ToLabelUnits(task, SmearingOf(state, task), absl::MakeSpan(predictions));
    const Columns columns{task,
                          config.train(),
                          predictions,
                          split.labels[t],
                          split.weights[t],
                          groups.has_value() ? &*groups : nullptr};
    TaskMetrics& metrics = all.emplace_back();
    metrics.task = task.name();
    metrics.loss = task.loss();
    if (IsBinary(task.loss())) AddBinary(columns, &metrics);
    if (IsNumber(task.loss())) AddNumber(columns, split.predictions[head], &metrics);
    if (task.loss() == TaskConfig::PAIRWISE) AddPairwise(columns, &metrics);
    if (task.loss() == TaskConfig::SOFTMAX) AddClasses(columns, split, heads, &metrics);
  }
  return all;
}

double Score(const std::vector<TaskMetrics>& metrics, const std::string& best_by) {
  double sum = 0;
  for (const TaskMetrics& one : metrics) {
    if (Counts(one, best_by)) sum += one.score;
  }
  return sum;
}

std::string ScoreWarning(const std::vector<TaskMetrics>& metrics, const std::string& best_by) {
  for (const TaskMetrics& one : metrics) {
    if (!Counts(one, best_by) || !std::isnan(one.score)) continue;
    return absl::StrCat("warning: the score of task ", one.task, " is not a number (", one.rows,
                        " rows in its sample space): the evaluation counts neither for early ",
                        "stopping nor for the best checkpoint; choose another split, or another ",
                        "task with train { best_by: ... }");
  }
  return "";
}

}  // namespace pagoda
