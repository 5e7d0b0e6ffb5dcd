// Predictions and exact metrics of a whole split, by all workers together.
//
// The split is cut into blocks of Program::kTileRows rows at aligned record numbers, dealt to the
// workers in turn. A prediction is then computed in the same tile whoever computes it, so any
// number of workers gives the same bytes.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_EVALUATOR_H_
#define PAGODA_WORKER_TRAIN_EVALUATOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/group/group.h"
#include "proto/config.pb.h"
#include "worker/data/dataset.h"
#include "worker/graph/program.h"
#include "worker/train/step.h"

namespace pagoda {

// N = rows of the split, in record order. All of it is in worker 0's memory: 4 (heads + 2 tasks)
// bytes a row.
struct SplitPredictions {
  std::vector<std::vector<float>> predictions;  // [head][N], heads as Program::heads()
  std::vector<std::vector<float>> labels;       // [task][N]
  std::vector<std::vector<float>> weights;      // [task][N]
};

// All workers call it; the result is at worker 0, empty elsewhere.
absl::StatusOr<SplitPredictions> PredictSplit(Group& workers, const Dataset& dataset, Split split,
                                              Stepper& stepper, int head_count);

struct TaskMetrics {
  std::string task;
  TaskConfig::Loss loss = TaskConfig::BCE;
  int64_t rows = 0;
  int64_t positives = 0;
  double auc = 0, logloss = 0, pcoc = 0;  // BCE
  double mse = 0, mae = 0;                // MSE
};

// Tasks in configuration order. REQUIRES: each task has a head of its name.
std::vector<TaskMetrics> ComputeMetrics(const SplitPredictions& split, const Config& config,
                                        const std::vector<Graph::HeadSpec>& heads);

// train.best_by: a task's AUC (-MSE of a number's task), or the sum over all tasks. NaN where AUC
// has only one class.
double Score(const std::vector<TaskMetrics>& metrics, const std::string& best_by);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_EVALUATOR_H_
