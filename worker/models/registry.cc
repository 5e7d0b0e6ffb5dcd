#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checks.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/graph/losses.h"
#include "worker/models/model.h"
#include "worker/models/sequences.h"

namespace pagoda {
namespace {

std::map<std::string, ModelInfo>& MutableModels() {
  static auto* const models = new std::map<std::string, ModelInfo>;
  return *models;
}

absl::Status Refuse(const ModelConfig& config, absl::string_view what) {
  return UsageError(absl::StrCat("model ", config.name(), ": ", what));
}

// What not every model reads, and which do.
const std::vector<FieldUse>& ModelFields() {
  static const auto* const uses = [] {
    std::map<std::string, std::vector<std::string>> readers;
    for (const auto& [name, info] : Models()) {
      for (const std::string& field : info.fields) readers[field].push_back(name);
    }
    auto* all = new std::vector<FieldUse>;
    for (const auto& [field, models] : readers) all->push_back({field, models});
    return all;
  }();
  return *uses;
}

absl::Status CheckFields(const ModelConfig& config) {
  RETURN_IF_ERROR(CheckFieldUse(config, "model", "model", config.name(), ModelFields()));
  const InteractionConfig& interaction = config.interaction();
  return CheckFieldUse(interaction, "model.interaction", "kind",
                       InteractionConfig::Kind_Name(interaction.kind()), {{"layers", {"DCN_V2"}}});
}

absl::Status CheckBatchNorm(const ModelConfig& config) {
  const BatchNormConfig& norm = config.batch_norm();
  if (config.has_batch_norm() && config.normalization() != ModelConfig::BATCH) {
    return Refuse(config, "batch_norm is there, but normalization is not BATCH");
  }
  if (!(norm.momentum() > 0 && norm.momentum() <= 1)) {
    return Refuse(config,
                  absl::StrCat("batch_norm.momentum is ", norm.momentum(), "; allowed: (0, 1]"));
  }
  if (!(norm.epsilon() > 0 && norm.epsilon() <= 1)) {
    return Refuse(config,
                  absl::StrCat("batch_norm.epsilon is ", norm.epsilon(), "; allowed: (0, 1]"));
  }
  return absl::OkStatus();
}

absl::Status CheckStyle(const ModelConfig& config) {
  RETURN_IF_ERROR(CheckBatchNorm(config));
  if (!(config.dropout() >= 0 && config.dropout() < 1)) {
    return Refuse(config, absl::StrCat("dropout is ", config.dropout(), "; allowed: [0, 1)"));
  }
  if (config.interaction().layers() < 1 || config.interaction().layers() > 100) {
    return Refuse(config, absl::StrCat("interaction.layers is ", config.interaction().layers(),
                                       "; allowed: 1 to 100"));
  }
  for (const ReadsConfig& reads : config.reads()) {
    if (!reads.match().empty() && reads.feature_size() > 0) continue;
    return Refuse(config, "reads: give match and at least one feature");
  }
  return absl::OkStatus();
}

std::string ReweightedBy(const TaskConfig& task) {
  if (task.has_auto_positive_weight()) return "auto_positive_weight";
  if (task.positive_weight() != 1) return "positive_weight";
  return task.negative_sampling() != 1 ? "negative_sampling" : "";
}

// The data set's, or all tasks in configuration order.
std::vector<std::string> FunnelOf(const DatasetConfig& dataset) {
  std::vector<std::string> funnel(dataset.funnel().begin(), dataset.funnel().end());
  if (!funnel.empty()) return funnel;
  for (const TaskConfig& task : dataset.task()) funnel.push_back(task.name());
  return funnel;
}

// Fills in tasks and funnel; returns the tasks' names in configuration order.
std::vector<std::string> ReadTasks(const Config& config, ModelArgs* args) {
  std::vector<std::string> names;
  for (const TaskConfig& task : config.dataset().task()) {
    names.push_back(task.name());
    Graph::HeadSpec loss;
    SetLoss(task, &loss);
    args->tasks.push_back({task.name(), loss.kind, LogitCount(task), loss.parameter,
                           loss.parameter2, ReweightedBy(task)});
  }
  std::sort(args->tasks.begin(), args->tasks.end(),
            [](const ModelTask& a, const ModelTask& b) { return a.name < b.name; });
  args->funnel = FunnelOf(config.dataset());
  return names;
}

}  // namespace

const std::map<std::string, ModelInfo>& Models() { return MutableModels(); }

bool RegisterModel(ModelInfo info) {
  const std::string name = info.name;
  CHECK(MutableModels().emplace(name, std::move(info)).second) << "two models are called " << name;
  return true;
}

absl::StatusOr<std::vector<std::string>> StrictFunnel(const Config& config) {
  ASSIGN_OR_RETURN(const ModelInfo* info, FindModel(config.model().name()));
  if (!info->needs_strict_funnel || !config.dataset().strict_funnel()) {
    return std::vector<std::string>();
  }
  return FunnelOf(config.dataset());
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
  RETURN_IF_ERROR(CheckFields(model));
  RETURN_IF_ERROR(CheckStyle(model));
  Graph graph(input.width);
  ASSIGN_OR_RETURN(const PooledInput pooled, PoolSequences(model, input, &graph));
  BlockInputs inputs(model, pooled.columns, pooled.value, &graph);
  ModelArgs args{.config = model, .tasks = {}, .funnel = {}, .parameters = {}, .inputs = &inputs};
  const std::vector<std::string> task_names = ReadTasks(config, &args);
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
