// Ranges and references of a configuration that need no registry (ValidateConfig in
// common/config.h).
#include <set>

#include "absl/strings/str_cat.h"
#include "common/checks.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/labels.h"

namespace pagoda {
namespace {

constexpr int64_t kMaxBatch = 1 << 24;
constexpr int64_t kMaxLanes = 1 << 12;
constexpr int kMaxExperts = 1 << 12;
// Hours of training, at 100 steps a second; 2^39 rounds of 8 such turns are less than 2^63 steps.
constexpr int64_t kMaxTurnSteps = int64_t{1} << 20;

template <typename Widths>
absl::Status CheckWidths(absl::string_view field, const Widths& widths) {
  for (const int32_t width : widths) RETURN_IF_ERROR(InRange(field, width, 1, kMaxWidth));
  return absl::OkStatus();
}

absl::Status ValidateModel(const ModelConfig& model) {
  RETURN_IF_ERROR(InRange("model.embedding_dim", model.embedding_dim(), 1, kMaxDim));
  RETURN_IF_ERROR(CheckWidths("model.bottom", model.bottom()));
  RETURN_IF_ERROR(CheckWidths("model.expert", model.expert()));
  RETURN_IF_ERROR(CheckWidths("model.tower", model.tower()));
  RETURN_IF_ERROR(InRange("model.experts", model.experts(), 1, kMaxExperts));
  for (const LevelConfig& level : model.level()) {
    RETURN_IF_ERROR(InRange("model.level.task_experts", level.task_experts(), 0, kMaxExperts));
    RETURN_IF_ERROR(InRange("model.level.shared_experts", level.shared_experts(), 0, kMaxExperts));
    if (level.task_experts() + level.shared_experts() == 0) {
      return UsageError("model.level: task_experts and shared_experts are both 0: one must not be");
    }
    RETURN_IF_ERROR(CheckWidths("model.level.expert", level.expert()));
  }
  return UniqueNames("model.parameter", model.parameter()).status();
}

absl::Status ValidateTrain(const TrainConfig& train) {
  RETURN_IF_ERROR(InRange("train.epochs", train.epochs(), 1, 1 << 30));
  if (train.has_max_steps()) {
    RETURN_IF_ERROR(InRange("train.max_steps", train.max_steps(), 1, kMaxInt64));
  }
  RETURN_IF_ERROR(InRange("train.batch_size", train.batch_size(), 1, kMaxBatch));
  if (train.has_lanes()) {
    RETURN_IF_ERROR(InRange("train.lanes", train.lanes(), 1, kMaxLanes));
    if (train.lanes() > train.batch_size()) {
      return UsageError(absl::StrCat("train.lanes = ", train.lanes(),
                                     ": must not exceed train.batch_size = ", train.batch_size()));
    }
  }
  RETURN_IF_ERROR(CheckFieldUse(train, "train", "shuffle",
                                TrainConfig::Shuffle_Name(train.shuffle()),
                                {{"shuffle_rows", {"EPOCH", "WINDOW"}}}));
  RETURN_IF_ERROR(InRange("train.shuffle_rows", train.shuffle_rows(), 1, kMaxInt64));
  RETURN_IF_ERROR(
      InRange("train.checkpoint_every_steps", train.checkpoint_every_steps(), 0, kMaxInt64));
  RETURN_IF_ERROR(
      InRange("train.checkpoint_every_seconds", train.checkpoint_every_seconds(), 0, 1 << 30));
  RETURN_IF_ERROR(InRange("train.keep", train.keep(), 1, 1 << 20));
  RETURN_IF_ERROR(InRange("train.patience", train.patience(), 0, 1 << 30));
  RETURN_IF_ERROR(
      InRange("train.evaluate_every_steps", train.evaluate_every_steps(), 0, kMaxInt64));
  if (!(train.ema_decay() >= 0 && train.ema_decay() < 1)) {
    return UsageError(absl::StrCat("train.ema_decay = ", train.ema_decay(),
                                   ": must be in [0, 1), such as 0.999; 0 keeps no averages"));
  }
  return FiniteAtLeastZero("train.embedding_init", train.embedding_init(), false);
}

absl::Status ValidateSchedule(const std::string& where, const ScheduleConfig& schedule) {
  const std::string kind = ScheduleConfig::Kind_Name(schedule.kind());
  RETURN_IF_ERROR(CheckFieldUse(schedule, where, "kind", kind,
                                {{"decay_steps", {"COSINE", "STEP", "EXPONENTIAL"}},
                                 {"factor", {"STEP", "EXPONENTIAL"}},
                                 {"floor", {"COSINE", "STEP", "EXPONENTIAL"}}}));
  RETURN_IF_ERROR(
      InRange(absl::StrCat(where, ".warmup_steps"), schedule.warmup_steps(), 0, kMaxInt64));
  if (schedule.kind() != ScheduleConfig::CONSTANT && schedule.decay_steps() < 1) {
    return UsageError(absl::StrCat(where, ".decay_steps = ", schedule.decay_steps(), ": kind ",
                                   kind, " needs at least 1"));
  }
  // Written so that NaN is out of range.
  if (!(schedule.factor() > 0 && schedule.factor() <= 1)) {
    return UsageError(
        absl::StrCat(where, ".factor = ", schedule.factor(), ": must be above 0 and at most 1"));
  }
  if (!(schedule.floor() >= 0 && schedule.floor() <= 1)) {
    return UsageError(
        absl::StrCat(where, ".floor = ", schedule.floor(), ": must be between 0 and 1"));
  }
  return absl::OkStatus();
}

absl::Status ValidateOptimizer(const OptimizerConfig& optimizer) {
  const std::string field = absl::StrCat("optimizer[", optimizer.name(), "]");
  if (optimizer.rule().empty()) return UsageError(absl::StrCat(field, ".rule: is missing"));
  RETURN_IF_ERROR(
      FiniteAtLeastZero(absl::StrCat(field, ".learning_rate"), optimizer.learning_rate(), true));
  RETURN_IF_ERROR(UniqueNames(absl::StrCat(field, ".parameter"), optimizer.parameter()).status());
  RETURN_IF_ERROR(
      FiniteAtLeastZero(absl::StrCat(field, ".clip_norm"), optimizer.clip_norm(), false));
  RETURN_IF_ERROR(
      FiniteAtLeastZero(absl::StrCat(field, ".clip_value"), optimizer.clip_value(), false));
  if (optimizer.rule() == "ftrl" && optimizer.has_schedule()) {
    return UsageError(absl::StrCat(field, ".schedule: rule ftrl has none: its alpha scales the ",
                                   "weights themselves, a falling one would shrink them"));
  }
  return ValidateSchedule(absl::StrCat(field, ".schedule"), optimizer.schedule());
}

absl::Status ValidateGroups(const std::string& field,
                            const google::protobuf::RepeatedPtrField<GroupConfig>& groups,
                            const std::vector<std::string>& optimizers) {
  for (const GroupConfig& group : groups) {
    if (group.match().empty() || group.match() == "rows:") {
      return UsageError(absl::StrCat(field, ".match: needs a glob of dense parameters' names, or ",
                                     "\"rows:\" and a glob of tables' names"));
    }
    RETURN_IF_ERROR(IsOneOf(absl::StrCat(field, ".optimizer"), group.optimizer(), optimizers));
  }
  return absl::OkStatus();
}

absl::Status ValidateTaskTraining(const TaskTrainConfig& task,
                                  const std::vector<std::string>& optimizers) {
  const std::string field = absl::StrCat("train.task[", task.name(), "]");
  if (!task.optimizer().empty()) {
    RETURN_IF_ERROR(IsOneOf(absl::StrCat(field, ".optimizer"), task.optimizer(), optimizers));
  }
  if (!task.sparse_optimizer().empty()) {
    RETURN_IF_ERROR(
        IsOneOf(absl::StrCat(field, ".sparse_optimizer"), task.sparse_optimizer(), optimizers));
  }
  for (const std::string& glob : task.owns()) {
    if (glob.empty()) return UsageError(absl::StrCat(field, ".owns: is empty"));
  }
  if (task.has_steps()) {
    RETURN_IF_ERROR(InRange(field + ".steps", task.steps(), 1, kMaxTurnSteps));
  }
  return ValidateGroups(absl::StrCat(field, ".group"), task.group(), optimizers);
}

// Data set by data set, each task must have its turn.
absl::Status ValidateTurns(const TrainConfig& train, const std::vector<std::string>& tasks) {
  std::set<std::string> with, without(tasks.begin(), tasks.end());
  for (const TaskTrainConfig& task : train.task()) {
    if (!task.has_steps()) continue;
    with.insert(task.name());
    without.erase(task.name());
  }
  if (with.empty() || without.empty()) return absl::OkStatus();
  return UsageError(absl::StrCat("train.task[", *without.begin(), "].steps: is missing, task ",
                                 *with.begin(), " has a number: say for each task how many steps ",
                                 "its turn takes, or for none"));
}

absl::Status ValidateMethod(const TrainConfig& train, const std::vector<std::string>& tasks,
                            const std::vector<std::string>& optimizers) {
  if (train.method() == TrainConfig::JOINT && !train.task().empty()) {
    return UsageError(
        "train.task: with method: JOINT all tasks share their optimizers; say method: ALTERNATING, "
        "or train.group for optimizers by parameters");
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> named, UniqueNames("train.task", train.task()));
  for (const std::string& name : named) RETURN_IF_ERROR(IsOneOf("train.task.name", name, tasks));
  for (const TaskTrainConfig& task : train.task()) {
    RETURN_IF_ERROR(ValidateTaskTraining(task, optimizers));
  }
  RETURN_IF_ERROR(ValidateTurns(train, tasks));
  return ValidateGroups("train.group", train.group(), optimizers);
}

absl::Status ValidateOptimizers(const Config& config, const std::vector<std::string>& tasks) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names,
                   UniqueNames("optimizer", config.optimizer()));
  for (const OptimizerConfig& optimizer : config.optimizer()) {
    RETURN_IF_ERROR(ValidateOptimizer(optimizer));
  }
  RETURN_IF_ERROR(IsOneOf("train.sparse_optimizer", config.train().sparse_optimizer(), names));
  RETURN_IF_ERROR(IsOneOf("train.dense_optimizer", config.train().dense_optimizer(), names));
  return ValidateMethod(config.train(), tasks, names);
}

}  // namespace

absl::Status ValidateConfig(const Config& config) {
  RETURN_IF_ERROR(ValidateModel(config.model()));
  RETURN_IF_ERROR(ValidateDataset(config.dataset()));
  std::vector<std::string> tasks;
  for (const TaskConfig& task : config.dataset().task()) tasks.push_back(task.name());
  RETURN_IF_ERROR(ValidateTrain(config.train()));
  std::vector<std::string> best_by = tasks;
  best_by.push_back("SUM");
  RETURN_IF_ERROR(IsOneOf("train.best_by", config.train().best_by(), best_by));
  RETURN_IF_ERROR(ValidateEvaluation(config));
  return ValidateOptimizers(config, tasks);
}

}  // namespace pagoda
