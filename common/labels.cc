#include "common/labels.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checks.h"
#include "common/config.h"
#include "common/errors.h"

namespace pagoda {
namespace {

// A class is an output and a column of predictions each; more of them want a model of their own.
constexpr int kMaxClasses = 1024;
constexpr int kMaxBuckets = 1000;

absl::Status Refuse(const TaskConfig& task, absl::string_view field, absl::string_view why) {
  return UsageError(absl::StrCat("dataset.task[", task.name(), "].", field, ": ", why));
}

// `value` given and above 0.
absl::Status Positive(const TaskConfig& task, absl::string_view field, double value) {
  if (std::isfinite(value) && value > 0) return absl::OkStatus();
  return Refuse(task, field, absl::StrCat(value, " must be a finite number above 0"));
}

// Which fields go with which losses.
const std::vector<FieldUse>& LossFields() {
  static const auto* const uses = new std::vector<FieldUse>{
      {"huber_delta", {"HUBER"}},
      {"focal_gamma", {"FOCAL"}},
      {"focal_alpha", {"FOCAL"}},
      {"classes", {"SOFTMAX"}},
      {"label_transform", {"MSE", "HUBER"}},
      {"inverse", {"MSE", "HUBER", "LOG_NORMAL"}},
      {"positive_weight", {"BCE", "FOCAL"}},
      {"auto_positive_weight", {"BCE", "FOCAL"}},
      {"negative_sampling", {"BCE", "FOCAL"}},
      {"calibrate", {"BCE"}},
  };
  return *uses;
}

// Fields that mean something beside others only.
absl::Status CheckCompany(const TaskConfig& task) {
  if (task.inverse() == TaskConfig::MEAN && task.loss() != TaskConfig::LOG_NORMAL &&
      task.label_transform() != TaskConfig::LOG1P) {
    return Refuse(task, "inverse",
                  "is for loss: LOG_NORMAL, or goes with label_transform: LOG1P; leave it out");
  }
  for (const auto& [is_given, field] : {std::pair{task.has_inside_weight(), "inside_weight"},
                                        std::pair{task.has_outside_weight(), "outside_weight"}}) {
    if (!is_given || !task.sample_space().empty()) continue;
    return Refuse(task, field, "there is no sample_space to be inside or outside of; give one");
  }
  const bool is_reweighted =
      task.has_positive_weight() || task.has_auto_positive_weight() || task.negative_sampling() < 1;
  if (task.calibrate() && !is_reweighted) {
    return Refuse(task, "calibrate",
                  "it undoes positive_weight, auto_positive_weight and negative_sampling, of which "
                  "none is given; leave it out");
  }
  return absl::OkStatus();
}

}  // namespace

bool IsBinary(TaskConfig::Loss loss) {
  return loss == TaskConfig::BCE || loss == TaskConfig::FOCAL;
}

bool IsNumber(TaskConfig::Loss loss) {
  return loss == TaskConfig::MSE || loss == TaskConfig::HUBER || loss == TaskConfig::POISSON ||
         loss == TaskConfig::LOG_NORMAL;
}

absl::Status ValidateLoss(const TaskConfig& task) {
  RETURN_IF_ERROR(CheckFieldUse(task, absl::StrCat("dataset.task[", task.name(), "]"), "loss",
                                TaskConfig::Loss_Name(task.loss()), LossFields()));
  RETURN_IF_ERROR(CheckCompany(task));
  RETURN_IF_ERROR(Positive(task, "huber_delta", task.huber_delta()));
  RETURN_IF_ERROR(Positive(task, "positive_weight", task.positive_weight()));
  if (!std::isfinite(task.focal_gamma()) || task.focal_gamma() < 0) {
    return Refuse(task, "focal_gamma", "must be a finite number of at least 0");
  }
  if (!(task.focal_alpha() > 0 && task.focal_alpha() < 1)) {
    return Refuse(task, "focal_alpha", "must lie between 0 and 1");
  }
  if (task.loss() == TaskConfig::SOFTMAX &&
      !(task.classes() >= 2 && task.classes() <= kMaxClasses)) {
    return Refuse(task, "classes",
                  absl::StrCat(task.classes(), " must be between 2 and ", kMaxClasses));
  }
  if (task.has_auto_positive_weight()) {
    RETURN_IF_ERROR(Positive(task, "auto_positive_weight", task.auto_positive_weight()));
    if (task.has_positive_weight()) {
      return Refuse(task, "auto_positive_weight",
                    "positive_weight is given, too: give one of them");
    }
  }
  if (!(task.negative_sampling() > 0 && task.negative_sampling() <= 1)) {
    return Refuse(task, "negative_sampling", "must be above 0 and at most 1");
  }
  for (const double weight : {task.inside_weight(), task.outside_weight()}) {
    if (std::isfinite(weight) && weight >= 0) continue;
    return Refuse(task, "inside_weight, outside_weight", "must be finite numbers of at least 0");
  }
  return absl::OkStatus();
}

absl::Status ValidateEvaluation(const Config& config) {
  const TrainConfig& train = config.train();
  if (train.has_gauc_by()) {
    std::vector<std::string> ids;
    bool known = false;
    for (const FeatureConfig& feature : config.dataset().feature()) {
      if (feature.kind() == FeatureConfig::ID) ids.push_back(feature.name());
      known |= feature.kind() == FeatureConfig::ID && feature.name() == train.gauc_by();
    }
    if (!known) {
      return UsageError(absl::StrCat("train.gauc_by = \"", train.gauc_by(),
                                     "\": no feature of kind ID is called so",
                                     NearestHint(train.gauc_by(), ids)));
    }
  }
  for (const int k : train.ndcg_at()) {
    if (k < 1) return UsageError(absl::StrCat("train.ndcg_at = ", k, ": must be at least 1"));
  }
  if (!train.ndcg_at().empty() && !train.has_gauc_by()) {
    return UsageError("train.ndcg_at: needs train.gauc_by, whose values are the ranked lists");
  }
  if (train.calibration_buckets() < 0 || train.calibration_buckets() > kMaxBuckets) {
    return UsageError(absl::StrCat("train.calibration_buckets = ", train.calibration_buckets(),
                                   ": must be between 0 and ", kMaxBuckets));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
