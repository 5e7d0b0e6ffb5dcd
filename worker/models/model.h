// The registry of models.
//
// A model is one file here that reads like its paper, and one file in configs/models/. It composes
// nodes of a Graph: it sees no network, no data format, no optimizer. It ends in
// PAGODA_REGISTER_MODEL; nothing else changes.
//
// Names of parameters are part of a checkpoint's format and the key of their initial values:
//   TASK/tower/layer0, TASK/tower/out   the task's tower and its logit
//   bottom/layer0                       Shared-Bottom's trunk; TASK/bottom/layer0: single's
//   experts/0/layer0, TASK/gate         MoE (its one gate: gate), MMoE
//   level0/TASK/experts/0/layer0, level0/shared_experts/0/layer0,
//   level0/TASK/gate, level0/shared_gate  CGC, PLE
// each with /w and, where it has a bias, /b. So MMoE with one expert is Shared-Bottom under
// experts/0/* <-> bottom/*, and PLE with one level, one expert a task and no shared ones is single
// under level0/TASK/experts/0/* <-> TASK/bottom/*.
//
// Thread-safe after static initialisation.
#ifndef PAGODA_WORKER_MODELS_MODEL_H_
#define PAGODA_WORKER_MODELS_MODEL_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/optim/rule.h"
#include "proto/config.pb.h"
#include "worker/graph/graph.h"
#include "worker/models/model_input.h"

namespace pagoda {

struct ModelTask {
  std::string name;
  HeadKind head;  // From the task's loss, as the rest: worker/graph/losses.h.
  int logits = 1;
  double parameter = 0, parameter2 = 0;  // HeadSpec's.
  // The field that makes its probabilities other ones than the data's; empty: none.
  std::string reweighted_by = {};
};

struct ModelArgs {
  const ModelConfig& config;
  std::vector<ModelTask> tasks;              // At least one, by name.
  std::vector<std::string> funnel;           // Task names; DatasetConfig.funnel, or all tasks.
  std::map<std::string, double> parameters;  // Declared ones, resolved.
  BlockInputs* inputs = nullptr;             // Of the graph that is made.
};

struct ModelInfo {
  std::string name;
  std::string help;    // One line.
  std::string source;  // Paper.
  // The fields of ModelConfig that it reads, of those that not every model does: a field that
  // stands here in any model is refused of a model in which it does not.
  std::vector<std::string> fields;
  std::vector<ParameterSpec> parameters;
  // Calls g.Head once for each task. UsageError for a configuration that the model cannot be built
  // from.
  absl::Status (*build)(const ModelArgs& args, Graph& g);
  // Embedding sets besides the ordinary one; null: none.
  std::vector<EmbeddingSet> (*sets)(const Config& config) = nullptr;
  // Whether a later step of the funnel must imply the earlier ones in every row's labels.
  bool needs_strict_funnel = false;
};

// By name.
const std::map<std::string, ModelInfo>& Models();
// CHECKs that the name is new.
bool RegisterModel(ModelInfo info);
#define PAGODA_REGISTER_MODEL(...) \
  static const bool registered_ [[maybe_unused]] = ::pagoda::RegisterModel(__VA_ARGS__)

// The graph of config.model on config.dataset's tasks: their heads in configuration order, then
// outputs. The model sees its tasks by name, so the order in which a configuration lists them
// changes no bit. UsageError: an unknown model or parameter, a field that the model does not read,
// or what the model itself refuses. REQUIRES: input.width > 0; config passes ValidateConfig, as far
// as it is on the model and the tasks.
absl::StatusOr<Graph> BuildModel(const Config& config, const ModelInput& input);
// The same on a NamelessInput.
absl::StatusOr<Graph> BuildModel(const Config& config, int width);

// The funnel's tasks, in order, when config.model needs it strict and dataset.strict_funnel is not
// false; else none. UsageError: an unknown model.
absl::StatusOr<std::vector<std::string>> StrictFunnel(const Config& config);

// UsageError lists near names.
absl::StatusOr<const ModelInfo*> FindModel(const std::string& name);

}  // namespace pagoda

#endif  // PAGODA_WORKER_MODELS_MODEL_H_
