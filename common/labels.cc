#include "common/labels.h"

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

absl::Status AtLeastZero(const TaskConfig& task, absl::string_view field, double value,
                         bool positive) {
  return FiniteAtLeastZero(absl::StrCat("dataset.task[", task.name(), "].", field), value,
                           positive);
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
  for (const char* field : {"inside_weight", "outside_weight"}) {
    if (!IsGiven(task, field) || !task.sample_space().empty()) continue;
    return Refuse(task, field, "there is no sample_space to be inside or outside of; give one");
  }
  // Not positive_weight's value: a run's auto_positive_weight, resolved, may be 1.
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
  RETURN_IF_ERROR(AtLeastZero(task, "huber_delta", task.huber_delta(), true));
  RETURN_IF_ERROR(AtLeastZero(task, "positive_weight", task.positive_weight(), true));
  RETURN_IF_ERROR(AtLeastZero(task, "focal_gamma", task.focal_gamma(), false));
  if (!(task.focal_alpha() > 0 && task.focal_alpha() < 1)) {
    return Refuse(task, "focal_alpha", "must lie between 0 and 1");
  }
  if (task.loss() == TaskConfig::SOFTMAX &&
      !(task.classes() >= 2 && task.classes() <= kMaxClasses)) {
    return Refuse(task, "classes",
                  absl::StrCat(task.classes(), " must be between 2 and ", kMaxClasses));
  }
  if (task.has_auto_positive_weight()) {
    RETURN_IF_ERROR(AtLeastZero(task, "auto_positive_weight", task.auto_positive_weight(), true));
    if (IsGiven(task, "positive_weight")) {
      return Refuse(task, "auto_positive_weight",
                    "positive_weight is given, too: give one of them");
    }
  }
  if (!(task.negative_sampling() > 0 && task.negative_sampling() <= 1)) {
    return Refuse(task, "negative_sampling", "must be above 0 and at most 1");
  }
  RETURN_IF_ERROR(AtLeastZero(task, "inside_weight", task.inside_weight(), false));
  return AtLeastZero(task, "outside_weight", task.outside_weight(), false);
}

absl::Status ValidateEvaluation(const Config& config) {
  const TrainConfig& train = config.train();
  if (!train.gauc_by().empty()) {
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
  if (!train.ndcg_at().empty() && train.gauc_by().empty()) {
    return UsageError("train.ndcg_at: needs train.gauc_by, whose values are the ranked lists");
  }
  if (train.calibration_buckets() < 0 || train.calibration_buckets() > kMaxBuckets) {
    return UsageError(absl::StrCat("train.calibration_buckets = ", train.calibration_buckets(),
                                   ": must be between 0 and ", kMaxBuckets));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
