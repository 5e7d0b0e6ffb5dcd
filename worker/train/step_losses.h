// What each example weighs in a step's loss.
//
// loss_k = sum over examples r of the whole step of w_kr l_kr / n_k, where n_k is the step's sum of
// weights (WEIGHTS) or its number of examples (BATCH), never a lane's. The network is given
// weight_k * w_kr / n_k. A task without weight in the step (HasWeight) gets zeros, and so do the
// losses beside its own that are a part of it (AITM's calibrator, an entropy): without its own they
// would still move what they reach.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_STEP_LOSSES_H_
#define PAGODA_WORKER_TRAIN_STEP_LOSSES_H_

#include <vector>

#include "absl/types/span.h"
#include "proto/config.pb.h"
#include "worker/data/batch.h"
#include "worker/graph/graph.h"

namespace pagoda {

// sums [lanes added as a tree] <- each task's sum of weights, then the number of examples.
void SumWeights(absl::Span<const Batch> lanes, int tasks, std::vector<double>* sums);

// Of the step of one task: the others' sums become 0.
void KeepTask(int only_task, absl::Span<double> sums);

// total [parts added as a tree, parts[i] of one length]; empty parts give zeros.
void SumParts(absl::Span<const std::vector<double>> parts, absl::Span<double> total);

// Whether the task has weight in the step: one of its own, and rows of its sample space that have.
// sums as SumWeights leaves them.
bool HasWeight(const TaskConfig& task, int index, absl::Span<const double> sums);

// weight_k / n_k, or 0; sums as SumWeights leaves them.
double LossScale(const TaskConfig& task, int index, absl::Span<const double> sums);

// Which of the step's tasks a head's loss reads.
struct LossHead {
  int task;  // Whose labels.
  // LossRows::kGiven: only rows whose label of this task is not 0. Rows that either of the two
  // tasks gives weight 0 are outside its sample space: their labels mean nothing.
  int given = -1;
  Graph::LossRows rows = Graph::LossRows::kTask;
  double weight = 1;     // Graph::HeadSpec::weight
  bool reported = true;  // False: a loss beside the tasks'.
};
// REQUIRES: the head has a loss; CHECKs that its tasks are among `tasks`.
LossHead FindLossHead(const Graph::HeadSpec& head, absl::Span<const TaskConfig> tasks);

// What a row of unit weight weighs in the head's loss: its weight times LossScale of its task, or
// over the number of examples for a loss over every row; 0 if its task has no weight in the step.
double HeadScale(const LossHead& head, absl::Span<const TaskConfig> tasks,
                 absl::Span<const double> sums);

// out [end - begin] <- (float)(scale * weight of the row) of examples [begin, end).
void ScaleWeights(const Batch& batch, const LossHead& head, int begin, int end, double scale,
                  float* out);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_LOSSES_H_
