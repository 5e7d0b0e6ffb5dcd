// The registry of models.
//
// A model is one file here that reads like its paper, and one file in configs/models/. It composes nodes of a Graph: it sees no network,
// no data format, no optimizer. It ends in PAGODA_REGISTER_MODEL; nothing else changes.
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

namespace pagoda {

struct ModelTask {
  std::string name;
  HeadKind head;  // kProbability or kNumber, from the task's loss.
};

struct ModelArgs {
  const ModelConfig& config;
  std::vector<ModelTask> tasks;             // At least one, in configuration order.
  std::vector<std::string> funnel;          // Task names; DatasetConfig.funnel, or all tasks.
  std::map<std::string, double> parameters; // Declared ones, resolved.
};

struct ModelInfo {
  std::string name;
  std::string help;    // One line.
  std::string source;  // Paper.
  std::vector<ParameterSpec> parameters;
  // Calls g.Head once for each task. UsageError for a configuration that the model cannot be built from.
  absl::Status (*build)(const ModelArgs& args, Graph& g);
};

const std::map<std::string, ModelInfo>& Models();
bool RegisterModel(ModelInfo info);
#define PAGODA_REGISTER_MODEL(...) \
  static const bool registered_ [[maybe_unused]] = ::pagoda::RegisterModel(__VA_ARGS__)

// The graph of config.model on config.dataset's tasks.
absl::StatusOr<Graph> BuildModel(const Config& config, int input_width);

}  // namespace pagoda

#endif  // PAGODA_WORKER_MODELS_MODEL_H_
