// What each example weighs in a step's loss.
//
// loss_k = sum over examples r of the whole step of w_kr l_kr / n_k, where n_k is the step's sum of
// weights (WEIGHTS) or its number of examples (BATCH), never a lane's. The network is given
// weight_k * w_kr / n_k; a task whose n_k is 0 gets zeros.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_STEP_LOSSES_H_
#define PAGODA_WORKER_TRAIN_STEP_LOSSES_H_

#include <vector>

#include "absl/types/span.h"
#include "proto/config.pb.h"
#include "worker/data/batch.h"

namespace pagoda {

// sums [lanes added as a tree] <- each task's sum of weights, then the number of examples.
void SumWeights(absl::Span<const Batch> lanes, int tasks, std::vector<double>* sums);

// total [parts added as a tree, parts[i] of one length]; empty parts give zeros.
void SumParts(absl::Span<const std::vector<double>> parts, absl::Span<double> total);

// weight_k / n_k, or 0; sums as SumWeights leaves them.
double LossScale(const TaskConfig& task, int index, absl::Span<const double> sums);

// out [end - begin] <- (float)(scale * weight of `task`) of examples [begin, end).
void ScaleWeights(const Batch& batch, int task, int begin, int end, double scale, float* out);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_LOSSES_H_
