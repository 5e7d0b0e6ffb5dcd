#include "worker/train/task_rules.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace pagoda {
namespace {

bool IsLog1p(const TaskConfig& task) { return task.label_transform() == TaskConfig::LOG1P; }

}  // namespace

void PrepareTrainingBatch(absl::Span<const TaskConfig> tasks, Batch* batch) {
  const size_t rows = static_cast<size_t>(batch->rows);
  for (size_t t = 0; t < tasks.size(); ++t) {
    const TaskConfig& task = tasks[t];
    float* const labels = batch->labels.data() + t * rows;
    float* const weights = batch->weights.data() + t * rows;
    for (size_t r = 0; IsLog1p(task) && r < rows; ++r) labels[r] = std::log1p(labels[r]);
    if (task.positive_weight() == 1) continue;
    const float positive_weight = static_cast<float>(task.positive_weight());
    for (size_t r = 0; r < rows; ++r) {
      if (labels[r] == 1) weights[r] *= positive_weight;
    }
  }
}

void ResolvePositiveWeights(const Dataset& dataset, Config* config) {
  for (int t = 0; t < config->dataset().task_size(); ++t) {
    TaskConfig* const task = config->mutable_dataset()->mutable_task(t);
    if (!task->has_auto_positive_weight()) continue;
    const double positives = static_cast<double>(dataset.positives()[t]);
    const double negatives = static_cast<double>(dataset.negatives()[t]);
    const double wanted =
        positives > 0 ? task->auto_positive_weight() * negatives / positives : 1.0;
    task->set_positive_weight(std::max(1.0, wanted));
    task->clear_auto_positive_weight();
  }
}

absl::Status TakePositiveWeights(const Config& trained, Config* config) {
  const auto& then = trained.dataset().task();
  for (TaskConfig& task : *config->mutable_dataset()->mutable_task()) {
    if (!task.has_auto_positive_weight()) continue;
    const auto found = std::find_if(
        then.begin(), then.end(), [&](const TaskConfig& one) { return one.name() == task.name(); });
    if (found == then.end()) {
      return UsageError(absl::StrCat("task ", task.name(), ": auto_positive_weight: the ",
                                     "checkpoint's run did not train it; give positive_weight"));
    }
    task.set_positive_weight(found->positive_weight());
    task.clear_auto_positive_weight();
  }
  return absl::OkStatus();
}

bool NeedsSmearing(const TaskConfig& task) {
  return task.inverse() == TaskConfig::MEAN &&
         (IsLog1p(task) || task.loss() == TaskConfig::LOG_NORMAL);
}

double SmearingOf(const TrainState& state, const TaskConfig& task) {
  for (const TaskSmearing& one : state.smearing()) {
    if (one.task() == task.name() && NeedsSmearing(task)) return one.factor();
  }
  return 1;
}

double SmearingFactor(const TaskConfig& task, absl::Span<const float> predictions,
                      absl::Span<const float> labels, absl::Span<const float> weights) {
  CHECK_EQ(predictions.size(), labels.size());
  CHECK_EQ(predictions.size(), weights.size());
  double sum = 0;
  int64_t rows = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (weights[i] == 0) continue;
    const double residual =
        double{TrainingLabel(task, labels[i])} - double{TrainingPrediction(task, predictions[i])};
    sum += std::exp(residual);
    ++rows;
  }
  const double factor = rows > 0 ? sum / static_cast<double>(rows) : 1.0;
  return std::isfinite(factor) && factor > 0 ? factor : 1.0;
}

void ToLabelUnits(const TaskConfig& task, double smearing, absl::Span<float> predictions) {
  const double odds_ratio = task.positive_weight() / task.negative_sampling();
  for (float& p : predictions) {
    if (IsLog1p(task)) {
      p = static_cast<float>(smearing == 1 ? std::expm1(double{p})
                                           : smearing * std::exp(double{p}) - 1);
    } else if (task.loss() == TaskConfig::LOG_NORMAL) {
      p = static_cast<float>(smearing * p);
    } else if (task.calibrate()) {
      p = static_cast<float>(p / (p + (1.0 - p) * odds_ratio));
    }
  }
}

float TrainingLabel(const TaskConfig& task, float label) {
  if (IsLog1p(task)) return std::log1p(label);
  return task.loss() == TaskConfig::LOG_NORMAL ? std::log(label) : label;
}

float TrainingPrediction(const TaskConfig& task, float prediction) {
  return task.loss() == TaskConfig::LOG_NORMAL ? std::log(prediction) : prediction;
}

bool HasTrainingUnits(const TaskConfig& task) {
  return IsLog1p(task) || task.loss() == TaskConfig::LOG_NORMAL;
}

}  // namespace pagoda
