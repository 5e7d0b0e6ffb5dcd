// What a step is made of, once for all steps: a training method and a program, in the terms of the
// parts that carry them out (step.h).
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_STEP_SETUP_H_
#define PAGODA_WORKER_TRAIN_STEP_SETUP_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/config.pb.h"
#include "worker/graph/program.h"
#include "worker/train/method.h"
#include "worker/train/step_dense.h"
#include "worker/train/step_losses.h"
#include "worker/train/step_tasks.h"

namespace pagoda {

// [optimizer]: the dense half of each. REQUIRES: their rules are valid.
std::vector<DenseOptimizer> DenseOptimizers(const TrainingMethod& method);

// Indices of `names` among the tasks. CHECKs that they are there.
std::vector<int> TaskIndices(const std::vector<std::string>& names,
                             const std::vector<TaskConfig>& tasks);
// [pass or optimizer of a method]: those of its `tasks`.
template <typename T>
std::vector<std::vector<int>> TasksOfEach(const std::vector<T>& of,
                                          const std::vector<TaskConfig>& tasks) {
  std::vector<std::vector<int>> indices;
  for (const T& one : of) indices.push_back(TaskIndices(one.tasks, tasks));
  return indices;
}

// [loss head of the program]
std::vector<LossHead> LossHeads(const Program& program, const std::vector<TaskConfig>& tasks);

// [BatchNorm by name]: the optimizers that own its gain or b.
std::map<std::string, std::vector<int>> BatchNormOwners(const TrainingMethod& method,
                                                        const Program& program);

// Whether optimizers apply a combination of the tasks' passes.
bool CombinesPasses(const TrainingMethod& method);

// What must be known of the tasks' gradients by themselves: those of all that is owned where they
// are combined, those of what is measured where it is; else nothing.
std::optional<TaskGradients::Options> TaskGradientsOf(const TrainingMethod& method,
                                                      const Program& program,
                                                      const DenseParameters& dense);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_SETUP_H_
