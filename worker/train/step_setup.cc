#include "worker/train/step_setup.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/optim/rule.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

std::unique_ptr<Rule> MakeDenseRule(const OptimizerConfig& config) {
  std::map<std::string, double> parameters;
  for (const Parameter& parameter : config.parameter()) {
    parameters[parameter.name()] = parameter.value();
  }
  absl::StatusOr<std::unique_ptr<Rule>> rule = MakeRule(config.rule(), parameters);
  CHECK(rule.ok()) << rule.status();  // Checked with the configuration.
  return *std::move(rule);
}

}  // namespace

std::vector<DenseOptimizer> DenseOptimizers(const TrainingMethod& method) {
  std::vector<DenseOptimizer> optimizers;
  for (const StepOptimizer& one : method.optimizers) {
    DenseOptimizer& added = optimizers.emplace_back();
    if (!method.has_one_dense_optimizer) added.label = one.name;
    added.rule = MakeDenseRule(one.config);
    added.pass = one.pass;
    added.limits = {one.config.clip_norm(), one.config.clip_value()};
    added.owns_all = one.owns_all_parameters;
    added.parameters = one.parameters;
  }
  return optimizers;
}

std::vector<int> TaskIndices(const std::vector<std::string>& names,
                             const std::vector<TaskConfig>& tasks) {
  std::vector<int> indices;
  for (const std::string& name : names) {
    const auto task = std::find_if(tasks.begin(), tasks.end(),
                                   [&](const TaskConfig& one) { return one.name() == name; });
    CHECK(task != tasks.end()) << "no task \"" << name << "\"";
    indices.push_back(static_cast<int>(task - tasks.begin()));
  }
  return indices;
}

std::vector<LossHead> LossHeads(const Program& program, const std::vector<TaskConfig>& tasks) {
  std::vector<LossHead> heads;
  for (const Graph::HeadSpec& head : program.heads()) {
    if (head.has_loss) heads.push_back(FindLossHead(head, tasks));
  }
  return heads;
}

std::map<std::string, std::vector<int>> BatchNormOwners(const TrainingMethod& method,
                                                        const Program& program) {
  std::map<std::string, std::vector<int>> owners;
  for (const BatchNormLayer& layer : program.batch_norms()) {
    std::vector<int>& of_layer = owners[layer.name];
    for (size_t o = 0; o < method.optimizers.size(); ++o) {
      const std::vector<std::string>& owned = method.optimizers[o].parameters;
      for (const char* what : {"/gain", "/b"}) {
        const bool owns = std::find(owned.begin(), owned.end(), layer.name + what) != owned.end();
        if (owns) of_layer.push_back(static_cast<int>(o));
      }
    }
  }
  return owners;
}

bool CombinesPasses(const TrainingMethod& method) {
  return std::any_of(method.optimizers.begin(), method.optimizers.end(),
                     [](const StepOptimizer& one) { return one.pass == kEveryPass; });
}

std::optional<TaskGradients::Options> TaskGradientsOf(const TrainingMethod& method,
                                                      const Program& program,
                                                      const DenseParameters& dense) {
  TaskGradients::Options options;
  if (CombinesPasses(method)) {
    options.tasks = static_cast<int>(method.passes.size());
    options.shared.insert(method.shared.begin(), method.shared.end());
    for (const DenseParameters::Chunk& chunk : dense.chunks()) {
      options.pieces.insert(options.pieces.end(), chunk.pieces.begin(), chunk.pieces.end());
    }
    return options;
  }
  const std::vector<std::string>& measured = method.passes.back().measured;
  if (measured.empty()) return std::nullopt;
  options.first_pass = 1;
  options.tasks = static_cast<int>(method.passes.size()) - 1;
  options.shared.insert(measured.begin(), measured.end());
  for (const ParameterView& view : program.parameters()) {
    if (options.shared.count(view.name) == 0) continue;
    for (int r = 0; r < view.rows; ++r) {
      options.pieces.push_back({view.offset + r * view.stride, view.columns});
    }
  }
  return options;
}

}  // namespace pagoda
