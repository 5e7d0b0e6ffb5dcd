// Who learns what in a step: its backward passes, and the optimizers that apply their gradients.
//
// JOINT: one pass of the weighted sum of all losses; each dense parameter and each table has one
// optimizer: the first `train.group` that matches, else the default one.
// ALTERNATING: one pass a task, all at the same weights; each task has optimizers of its own, with
// a state and a step count of their own, for what it owns: what its loss reaches, or the part of
// that which `owns` names. Its own groups come first, then those of `train`, which every task has
// under a state of its own. They are applied in the order of the data set's tasks.
//
// An optimizer moves, with its clock, its states and its decay, only in steps in which a task that
// reaches something of its own has weight; one that owns things of several tasks moves with any.
//
// Everything follows from the configuration, so all workers agree unasked, and Schema.optimizer
// lists the optimizers in the order of `optimizers` here.
//
// Thread-safe (values and pure functions).
#ifndef PAGODA_WORKER_TRAIN_METHOD_H_
#define PAGODA_WORKER_TRAIN_METHOD_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "proto/wire.pb.h"
#include "worker/data/dataset.h"
#include "worker/graph/graph.h"
#include "worker/graph/program.h"

namespace pagoda {

// StepOptimizer.pass of one that applies a combination of all passes' gradients (step_tasks.h).
inline constexpr int kEveryPass = -1;

// One optimizer with a state and a step count of its own.
struct StepOptimizer {
  // Unique: OptimizerConfig.name, or TASK/NAME when tasks alternate. Schema.optimizer has it.
  std::string name;
  OptimizerConfig config;  // All parameters of its rule resolved.
  int pass = 0;            // Whose gradients it applies.
  bool owns_all_parameters = false;
  std::vector<std::string> parameters;  // Dense ones that it updates, in name order.
  std::vector<int> tables;              // Indices in DataSchema.tables, ascending.
  // Whose losses move what it owns. None of them has weight in a step: the optimizer stands.
  std::vector<std::string> tasks;
};

struct StepPass {
  std::vector<std::string> tasks;  // Whose losses it adds.
  // Dense parameters whose gradients are looked at only: no optimizer applies them.
  std::vector<std::string> measured = {};
};

struct TrainingMethod {
  // States of dense parameters are called NAME.stateN, not NAME.OPTIMIZER.stateN: there is one
  // optimizer, and nothing to tell it from.
  bool has_one_dense_optimizer = true;
  // No sum runs over layers of two tasks: a task's bits do not depend on there being another.
  bool isolates_tasks = false;
  std::vector<StepPass> passes;
  std::vector<StepOptimizer> optimizers;
  // Where passes are combined: the dense parameters that several tasks' losses reach.
  std::vector<std::string> shared;
  std::vector<std::string> frozen;  // Dense parameters and "rows:TABLE" that nobody updates.
};

// Leaves in *config only the tasks that train.tasks names, and what refers to them. UsageError: a
// task that the data set does not have, there or where tasks are referred to, or one that is named
// twice.
absl::Status SelectTasks(Config* config);

// The dense parameters that optimizers move, in the graph's order: no running statistics.
std::vector<std::string> MovedParameters(const Graph& graph);

// UsageError: an unknown rule or parameter of one, a glob that matches nothing that is left.
// REQUIRES: config is valid (common/config.h); `graph` is of its tasks.
absl::StatusOr<TrainingMethod> ResolveMethod(const Config& config, const DataSchema& data,
                                             const Graph& graph);

// Tables with their optimizers, optimizers with all parameters, seed.
Schema MakeSchema(const Config& config, const DataSchema& data, const TrainingMethod& method);

// How Program::Compile must be told to make these passes.
Program::Options ProgramOptions(const TrainingMethod& method);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_METHOD_H_
