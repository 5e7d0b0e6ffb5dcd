#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/models/model.h"

namespace pagoda {
namespace {

// A layer wider than this is a slip: its weights alone would be gigabytes.
constexpr int kMaxWidth = 1 << 16;
constexpr int kMaxExperts = 1 << 12;

std::map<std::string, ModelInfo>& MutableModels() {
  static auto* const models = new std::map<std::string, ModelInfo>;
  return *models;
}

absl::Status Refuse(const ModelConfig& config, absl::string_view what) {
  return UsageError(absl::StrCat("model ", config.name(), ": ", what));
}

absl::Status CheckWidths(const ModelConfig& config, absl::string_view field,
                         const google::protobuf::RepeatedField<int>& widths) {
  for (int width : widths) {
    if (width >= 1 && width <= kMaxWidth) continue;
    return Refuse(config,
                  absl::StrCat(field, ": ", width, " is not a width; allowed: 1 to ", kMaxWidth));
  }
  return absl::OkStatus();
}

absl::Status CheckExperts(const ModelConfig& config, absl::string_view field, int count,
                          int minimum) {
  if (count >= minimum && count <= kMaxExperts) return absl::OkStatus();
  return Refuse(config,
                absl::StrCat(field, " is ", count, "; allowed: ", minimum, " to ", kMaxExperts));
}

absl::Status CheckSizes(const ModelConfig& config) {
  RETURN_IF_ERROR(CheckWidths(config, "bottom", config.bottom()));
  RETURN_IF_ERROR(CheckWidths(config, "expert", config.expert()));
  RETURN_IF_ERROR(CheckWidths(config, "tower", config.tower()));
  RETURN_IF_ERROR(CheckExperts(config, "experts", config.experts(), 1));
  for (int l = 0; l < config.level_size(); ++l) {
    const LevelConfig& level = config.level(l);
    const std::string field = absl::StrCat("level ", l, " ");
    RETURN_IF_ERROR(CheckWidths(config, field + "expert", level.expert()));
    RETURN_IF_ERROR(CheckExperts(config, field + "task_experts", level.task_experts(), 0));
    RETURN_IF_ERROR(CheckExperts(config, field + "shared_experts", level.shared_experts(), 0));
  }
  return absl::OkStatus();
}

// Fills in tasks and funnel; returns the tasks' names in configuration order.
absl::StatusOr<std::vector<std::string>> ReadTasks(const Config& config, ModelArgs* args) {
  std::vector<std::string> names;
  for (const TaskConfig& task : config.dataset().task()) {
    if (task.name().empty()) return UsageError("dataset: a task has no name");
    if (std::find(names.begin(), names.end(), task.name()) != names.end()) {
      return UsageError(absl::StrCat("dataset: two tasks are called \"", task.name(), "\""));
    }
    names.push_back(task.name());
    const bool is_bce = task.loss() == TaskConfig::BCE;
    args->tasks.push_back({task.name(), is_bce ? HeadKind::kProbability : HeadKind::kNumber});
  }
  if (names.empty()) return UsageError("dataset: it has no task; a model needs at least one");
  std::sort(args->tasks.begin(), args->tasks.end(),
            [](const ModelTask& a, const ModelTask& b) { return a.name < b.name; });
  args->funnel = names;
  if (config.dataset().funnel().empty()) return names;
  args->funnel.assign(config.dataset().funnel().begin(), config.dataset().funnel().end());
  for (const std::string& name : args->funnel) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    return UsageError(
        absl::StrCat("dataset: funnel: \"", name, "\" is not a task", NearestHint(name, names)));
  }
  return names;
}

}  // namespace

const std::map<std::string, ModelInfo>& Models() { return MutableModels(); }

bool RegisterModel(ModelInfo info) {
  const std::string name = info.name;
  CHECK(MutableModels().emplace(name, std::move(info)).second) << "two models are called " << name;
  return true;
}

absl::StatusOr<Graph> BuildModel(const Config& config, int input_width) {
  const ModelConfig& model = config.model();
  const auto it = Models().find(model.name());
  if (it == Models().end()) {
    std::vector<std::string> known;
    for (const auto& [name, info] : Models()) known.push_back(name);
    return UsageError(
        absl::StrCat("unknown model \"", model.name(), "\"", NearestHint(model.name(), known)));
  }
  RETURN_IF_ERROR(CheckSizes(model));
  ModelArgs args{.config = model, .tasks = {}, .funnel = {}, .parameters = {}};
  ASSIGN_OR_RETURN(const std::vector<std::string> task_names, ReadTasks(config, &args));
  std::map<std::string, double> given;
  for (const Parameter& parameter : model.parameter()) given[parameter.name()] = parameter.value();
  ASSIGN_OR_RETURN(args.parameters, ResolveParameters(absl::StrCat("model ", model.name()),
                                                      it->second.parameters, given));
  Graph graph(input_width);
  RETURN_IF_ERROR(it->second.build(args, graph));
  graph.OrderHeads(task_names);
  return graph;
}

}  // namespace pagoda
