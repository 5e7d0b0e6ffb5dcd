#include "worker/train/step_weighting.h"

#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/gram.h"
#include "common/optim/rule.h"
#include "glog/logging.h"
#include "worker/graph/program.h"
#include "worker/graph/reach.h"

namespace pagoda {
namespace {

bool IsFixed(const WeightingConfig& config) { return config.name() == "fixed"; }

bool IsRegression(const TaskConfig& task) {
  return task.loss() == TaskConfig::MSE || task.loss() == TaskConfig::HUBER ||
         task.loss() == TaskConfig::LOG_NORMAL;
}

// Parameters of rules that pull weights towards 0.
constexpr const char* kDecays[] = {"l1", "l2", "weight_decay"};

// The first optimizer that updates dense parameters.
int DenseOptimizerOf(const TrainingMethod& method) {
  for (size_t o = 0; o < method.optimizers.size(); ++o) {
    const StepOptimizer& one = method.optimizers[o];
    if (one.owns_all_parameters || !one.parameters.empty()) return static_cast<int>(o);
  }
  return 0;
}

WeightingArgs ArgsOf(const std::vector<TaskConfig>& tasks, const TrainingMethod& method,
                     int64_t steps_per_epoch, uint64_t seed) {
  WeightingArgs args;
  for (const TaskConfig& task : tasks) args.tasks.push_back({task.name(), IsRegression(task)});
  args.seed = seed;
  args.steps_per_epoch = steps_per_epoch;
  const OptimizerConfig& dense = method.optimizers.at(DenseOptimizerOf(method)).config;
  std::map<std::string, double> parameters;
  for (const Parameter& one : dense.parameter()) parameters[one.name()] = one.value();
  for (const char* decay : kDecays) {
    if (parameters.count(decay) > 0) parameters[decay] = 0;
  }
  absl::StatusOr<std::unique_ptr<Rule>> rule = MakeRule(dense.rule(), parameters);
  CHECK(rule.ok()) << rule.status();  // Checked with the optimizers.
  args.rule = *std::move(rule);
  return args;
}

absl::StatusOr<std::unique_ptr<Weighting>> MakeOf(const Config& config,
                                                  const TrainingMethod& method) {
  const auto& tasks = config.dataset().task();
  return MakeWeighting(
      config.train().weighting(),
      ArgsOf({tasks.begin(), tasks.end()}, method, /*steps_per_epoch=*/1, config.train().seed()));
}

std::string TaskNames(const Config& config) {
  return absl::StrJoin(config.dataset().task(), ", ", [](std::string* out, const TaskConfig& one) {
    absl::StrAppend(out, one.name());
  });
}

// A weighting that learns does so by the dense rule.
absl::Status CheckRule(const WeightingConfig& weighting, const TrainingMethod& method) {
  if (!Weightings().at(weighting.name()).learns_by_rule) return absl::OkStatus();
  const OptimizerConfig& dense = method.optimizers.at(DenseOptimizerOf(method)).config;
  if (dense.rule() != "lamb") return absl::OkStatus();
  return UsageError(absl::StrCat("train.weighting: ", weighting.name(), " learns by the rule of ",
                                 "the dense optimizer \"", dense.name(), "\", and lamb sizes its ",
                                 "steps by the norm of a whole tensor, which a single number has ",
                                 "not; take another rule, such as adam"));
}

// A pass a task, and optimizers that apply their combination.
void CombineTasks(const Graph& graph, TrainingMethod* method) {
  const std::vector<std::string> tasks = std::move(method->passes[0].tasks);
  method->passes.clear();
  for (const std::string& task : tasks) method->passes.push_back({.tasks = {task}});
  for (StepOptimizer& optimizer : method->optimizers) optimizer.pass = kEveryPass;
  const Reach reach(graph);
  for (const std::string& name : MovedParameters(graph)) {
    if (reach.TasksOfParameter(name).size() > 1) method->shared.push_back(name);
  }
}

// Beside the pass that trains, a pass a task, only for the group's gradients.
absl::Status MeasureGroup(const WeightingConfig& weighting, const Graph& graph,
                          TrainingMethod* method) {
  std::vector<std::string> names = MovedParameters(graph), group;
  for (const std::string& name : names) {
    if (fnmatch(weighting.group().c_str(), name.c_str(), 0) == 0) group.push_back(name);
  }
  if (group.empty()) {
    return UsageError(absl::StrCat("train.weighting.group: \"", weighting.group(),
                                   "\" matches none of the dense parameters",
                                   NearestHint(weighting.group(), names)));
  }
  const std::vector<std::string> tasks = method->passes[0].tasks;
  for (const std::string& task : tasks) {
    method->passes.push_back({.tasks = {task}, .measured = group});
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ArrangeWeighting(const Config& config, const Graph& graph, TrainingMethod* method) {
  const WeightingConfig& weighting = config.train().weighting();
  ASSIGN_OR_RETURN(const std::unique_ptr<Weighting> made, MakeOf(config, *method));
  const bool wants_group = made->needs() == WeightingNeeds::kGroupGram;
  if (weighting.has_group() && !wants_group) {
    return UsageError(absl::StrCat("train.weighting.group: ", weighting.name(), " has no use for ",
                                   "it; it is of weightings by a group's gradients (gradnorm)"));
  }
  if (IsFixed(weighting)) return absl::OkStatus();
  RETURN_IF_ERROR(CheckRule(weighting, *method));
  if (config.train().method() == TrainConfig::ALTERNATING) {
    return UsageError(absl::StrCat("train.weighting: ", weighting.name(), " weighs the sum of the ",
                                   "tasks' losses, and with method: ALTERNATING there is none"));
  }
  if (made->needs() == WeightingNeeds::kSharedGram) CombineTasks(graph, method);
  return wants_group ? MeasureGroup(weighting, graph, method) : absl::OkStatus();
}

absl::Status CheckWeightingState(const Config& config, const TrainingMethod& method,
                                 const Manifest& stored) {
  const std::string& name = config.train().weighting().name();
  const std::string& then = stored.config().train().weighting().name();
  if (name != then) {
    return UsageError(absl::StrCat("train.weighting: the checkpoint was trained with ", then,
                                   ", not ", name, ", and --resume keeps it"));
  }
  if (IsFixed(config.train().weighting())) return absl::OkStatus();
  const std::string tasks = TaskNames(config), tasks_then = TaskNames(stored.config());
  if (tasks != tasks_then) {
    return UsageError(absl::StrCat("train.weighting: ", name, " has numbers of its own for the ",
                                   "tasks, in their order: the checkpoint's tasks are ", tasks_then,
                                   ", this configuration's ", tasks));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Weighting> made, MakeOf(config, method));
  const size_t size = stored.state().weighting_state_size(), wanted = made->state().size();
  if (size == wanted) return absl::OkStatus();
  return UsageError(absl::StrCat("train.weighting: the checkpoint's state of ", name, " has ", size,
                                 " numbers, this configuration's ", wanted,
                                 ": does the dense optimizer have another rule?"));
}

StepWeighting::StepWeighting(const StepWeightingOptions& options,
                             const std::vector<TaskConfig>& tasks, const TrainingMethod& method,
                             uint64_t seed)
    : tasks_(tasks),
      dense_optimizer_(DenseOptimizerOf(method)),
      present_(std::make_unique<bool[]>(tasks.size())),
      weights_(tasks.size(), 1.0) {
  if (IsFixed(options.config)) return;
  auto made = MakeWeighting(options.config, ArgsOf(tasks, method, options.steps_per_epoch, seed));
  CHECK(made.ok()) << made.status();
  weighting_ = *std::move(made);
  if (options.state.empty()) return;
  CHECK_EQ(options.state.size(), weighting_->state().size());
  std::copy(options.state.begin(), options.state.end(), weighting_->state().begin());
}

void StepWeighting::Begin(int64_t step, absl::Span<const double> weight_sums,
                          double learning_rate) {
  step_ = step;
  learning_rate_ = learning_rate;
  for (size_t k = 0; k < tasks_.size(); ++k) {
    present_[k] = HasWeight(tasks_[k], static_cast<int>(k), weight_sums);
  }
  losses_.clear();
  losses_after_.clear();
  gram_.clear();
}

void StepWeighting::SetLosses(absl::Span<const double> losses) {
  losses_.assign(losses.begin(), losses.end());
}

void StepWeighting::SetLossesAfter(absl::Span<const double> losses) {
  losses_after_.assign(losses.begin(), losses.end());
}

void StepWeighting::SetGram(absl::Span<const double> triangle) {
  gram_ = FullGram(triangle, tasks_.size());
}

WeightingStep StepWeighting::Facts() const {
  return {.step = step_,
          .learning_rate = learning_rate_,
          .present = absl::MakeConstSpan(present_.get(), tasks_.size()),
          .losses = losses_,
          .losses_after = losses_after_,
          .gram = gram_};
}

absl::Span<const double> StepWeighting::FindWeights() {
  weighting_->Weights(Facts(), absl::MakeSpan(weights_));
  logged_.clear();
  const std::vector<std::string> names = weighting_->state_names();
  for (size_t i = 0; i < names.size(); ++i) logged_.push_back({names[i], weighting_->state()[i]});
  return weights_;
}

std::vector<float> StepWeighting::HeadScales(absl::Span<const LossHead> heads) const {
  std::vector<float> scales;
  for (const LossHead& head : heads) scales.push_back(static_cast<float>(weights_[head.task]));
  return scales;
}

void StepWeighting::Observe() { weighting_->Observe(Facts()); }

absl::Span<const double> StepWeighting::state() const {
  return weighting_ == nullptr ? absl::Span<const double>() : weighting_->state();
}

}  // namespace pagoda
