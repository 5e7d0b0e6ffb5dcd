#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/graph/losses.h"
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

absl::Status CheckStyle(const ModelConfig& config) {
  if (!(config.dropout() >= 0 && config.dropout() < 1)) {
    return Refuse(config, absl::StrCat("dropout is ", config.dropout(), "; allowed: [0, 1)"));
  }
  if (config.interaction().layers() < 1 || config.interaction().layers() > 100) {
    return Refuse(config, absl::StrCat("interaction.layers is ", config.interaction().layers(),
                                       "; allowed: 1 to 100"));
  }
  if (config.stop_shared_gate_size() > 0 && config.name() != "ple") {
    return Refuse(config, "stop_shared_gate: only ple has shared gates");
  }
  for (const ReadsConfig& reads : config.reads()) {
    if (!reads.match().empty() && reads.feature_size() > 0) continue;
    return Refuse(config, "reads: give match and at least one feature");
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
    Graph::HeadSpec loss;
    SetLoss(task, &loss);
    args->tasks.push_back(
        {task.name(), loss.kind, LogitCount(task), loss.parameter, loss.parameter2});
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

absl::StatusOr<const ModelInfo*> FindModel(const std::string& name) {
  const auto it = Models().find(name);
  if (it != Models().end()) return &it->second;
  std::vector<std::string> known;
  for (const auto& [known_name, info] : Models()) known.push_back(known_name);
  return UsageError(absl::StrCat("unknown model \"", name, "\"", NearestHint(name, known)));
}

absl::StatusOr<Graph> BuildModel(const Config& config, int width) {
  ASSIGN_OR_RETURN(const ModelInput input, NamelessInput(config, width));
  return BuildModel(config, input);
}

absl::StatusOr<Graph> BuildModel(const Config& config, const ModelInput& input) {
  const ModelConfig& model = config.model();
  ASSIGN_OR_RETURN(const ModelInfo* info, FindModel(model.name()));
  RETURN_IF_ERROR(CheckSizes(model));
  RETURN_IF_ERROR(CheckStyle(model));
  Graph graph(input.width);
  BlockInputs inputs(model, input, &graph);
  ModelArgs args{.config = model, .tasks = {}, .funnel = {}, .parameters = {}, .inputs = &inputs};
  ASSIGN_OR_RETURN(const std::vector<std::string> task_names, ReadTasks(config, &args));
  std::map<std::string, double> given;
  for (const Parameter& parameter : model.parameter()) given[parameter.name()] = parameter.value();
  ASSIGN_OR_RETURN(args.parameters, ResolveParameters(absl::StrCat("model ", model.name()),
                                                      info->parameters, given));
  RETURN_IF_ERROR(info->build(args, graph));
  RETURN_IF_ERROR(inputs.Finish());
  graph.OrderHeads(task_names);
  return graph;
}

}  // namespace pagoda
